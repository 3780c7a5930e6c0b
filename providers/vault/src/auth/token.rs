//! `token`: a token that is there already, from a variable, a file, an agent's sink, or wrapped.

use handfast_core::{BoxFuture, Context, Credential, ErrorKind, ProviderError};

use super::given::Given;
use super::method::{Definition, Login, Method, Origin};
use super::wrapping::{Kept, Wrapped};
use crate::api::{self, Answer, Api};

pub const DEFINITION: Definition =
    Definition { name: "token", keys: &["token_file", "token_env", "wrapped"], needs: &[], read };

enum Token {
    Plain(Credential),
    Wrapped(Wrapped, Kept),
}

fn read(given: &Given<'_>) -> Box<dyn Method> {
    let credential = given.credential("token", "VAULT_TOKEN");
    Box::new(match given.is_on("wrapped") {
        true => Token::Wrapped(Wrapped::new(credential), Kept::default()),
        false => Token::Plain(credential),
    })
}

impl Method for Token {
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            // Given, not logged in for: others may use it, so it is not revoked.
            let origin = match self {
                Token::Plain(Credential::File(_)) => Origin::GivenInFile,
                _ => Origin::Given,
            };
            let given = |token| Login { token: Some(token), origin, duration: None, renewable: false };
            let (wrapped, kept) = match self {
                Token::Plain(credential) => return Ok(given(credential.read("token", context)?)),
                Token::Wrapped(wrapped, kept) => (wrapped, kept),
            };
            if let Some(token) = kept.copy() {
                return Ok(given(token));
            }
            let response = wrapped.open("token", api, context).await?;
            let answer: Answer<'_> = api::of(&response, "cannot unwrap the token")?;
            let Some(auth) = answer.auth else {
                let message = "cannot unwrap the token: the wrapping token holds no token";
                let hint = "`vault token create -wrap-ttl=60s` makes one that does; a wrapped secret is `vault:sys/wrapping/unwrap`";
                return Err(ProviderError::new(ErrorKind::Denied, message).hint(hint));
            };
            kept.keep(&auth.token());
            Ok(Login { duration: auth.duration(), renewable: auth.renewable(), ..given(auth.token()) })
        })
    }
}
