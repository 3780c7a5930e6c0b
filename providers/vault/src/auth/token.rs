//! `token`: an existing token, from a variable, a file, an agent's sink, or a wrapping token.

use handfast_core::{BoxFuture, Context, Credential, ErrorKind, ProviderError};

use super::method::{Definition, Login, Method, Origin};
use super::settings::AuthSettings;
use super::wrapping::{Kept, Wrapped};
use crate::api::{self, Answer, Api};

pub const DEFINITION: Definition =
    Definition { name: "token", keys: &["token_file", "token_env", "wrapped"], needs: &[], read };

enum Token {
    Plain(Credential),
    Wrapped(Wrapped, Kept),
}

fn read(settings: &AuthSettings<'_>) -> Box<dyn Method> {
    let credential = settings.credential("token", "VAULT_TOKEN");
    Box::new(match settings.is_on("wrapped") {
        true => Token::Wrapped(Wrapped::new(credential), Kept::default()),
        false => Token::Plain(credential),
    })
}

impl Method for Token {
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            // Others may use this token too, so handfast does not revoke it.
            let origin = match self {
                Token::Plain(Credential::File(_)) => Origin::File,
                _ => Origin::Provided,
            };
            let login = |token| Login { token: Some(token), origin, duration: None, renewable: false };
            let (wrapped, kept) = match self {
                Token::Plain(credential) => return Ok(login(credential.read("token", context)?)),
                Token::Wrapped(wrapped, kept) => (wrapped, kept),
            };
            if let Some(token) = kept.copy() {
                return Ok(login(token));
            }
            let response = wrapped.unwrap("token", api, context).await?;
            let answer: Answer<'_> = api::of(&response, "cannot unwrap the token")?;
            let Some(auth) = answer.auth else {
                let message = "cannot unwrap the token: the wrapping token holds no token";
                let hint = "`vault token create -wrap-ttl=60s` makes one that does; a wrapped secret is `vault:sys/wrapping/unwrap`";
                return Err(ProviderError::new(ErrorKind::Denied, message).hint(hint));
            };
            kept.keep(&auth.token());
            Ok(Login { duration: auth.duration(), renewable: auth.renewable(), ..login(auth.token()) })
        })
    }
}
