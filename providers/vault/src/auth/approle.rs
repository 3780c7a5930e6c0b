//! `approle`: a role id, and a secret id from a file, from a variable, or from a wrapping token.

use handfast_core::{BoxFuture, Context, Credential, ErrorKind, ProviderError, SecretValue};
use serde::Deserialize;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use zeroize::Zeroizing;

use super::exchange::exchange;
use super::method::{Definition, Login, Method};
use super::refusals::Refusals;
use super::settings::AuthSettings;
use super::wrapping::{Kept, Wrapped};
use crate::api::{self, Answer, Api};

pub const DEFINITION: Definition = Definition {
    name: "approle",
    keys: &["mount", "role_id", "role_id_file", "role_id_env", "secret_id_file", "secret_id_env", "wrapped"],
    needs: &[],
    read,
};

struct AppRole {
    mount: String,
    role_id: Credential,
    secret_id: SecretId,
    refusals: Refusals,
}

enum SecretId {
    /// A role may not need a secret id (`bind_secret_id = false`).
    None,
    Plain(Credential),
    Wrapped(Wrapped, Kept),
}

fn read(settings: &AuthSettings<'_>) -> Box<dyn Method> {
    let secret_id = settings.credential("secret_id", "VAULT_SECRET_ID");
    let is_named = ["secret_id_file", "secret_id_env"].iter().any(|key| settings.string(key).is_some());
    let has_secret_id = is_named || settings.environment().credential("VAULT_SECRET_ID").is_some();
    Box::new(AppRole {
        mount: settings.mount(),
        role_id: settings.credential("role_id", "VAULT_ROLE_ID"),
        secret_id: match settings.is_on("wrapped") {
            true => SecretId::Wrapped(Wrapped::new(secret_id), Kept::default()),
            false if has_secret_id => SecretId::Plain(secret_id),
            false => SecretId::None,
        },
        refusals: Refusals::default(),
    })
}

impl Method for AppRole {
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let role_id = self.role_id.text("role id", context)?;
            let secret_id = self.secret_id.text(api, context).await?;
            let mount = self.mount.clone();
            // vaultrs' fields are plain strings, which handfast's allocator wipes when they are freed.
            let login =
                LoginWithApproleRequest { mount, role_id: role_id.to_string(), secret_id: secret_id.to_string() };
            let credentials = [role_id.as_str(), secret_id.as_str()];
            let exchange = exchange(api, &login, "approle", &self.mount);
            self.refusals.unless_refused(&credentials, &*context.clock, exchange).await
        })
    }
}

impl SecretId {
    async fn text(&self, api: &Api, context: &Context) -> Result<Zeroizing<String>, ProviderError> {
        let (wrapped, kept) = match self {
            SecretId::None => return Ok(Zeroizing::default()),
            SecretId::Plain(credential) => return credential.text("secret id", context),
            SecretId::Wrapped(wrapped, kept) => (wrapped, kept),
        };
        if let Some(kept) = kept.copy() {
            return Ok(Zeroizing::new(String::from_utf8_lossy(kept.expose()).into_owned()));
        }
        #[derive(Deserialize)]
        struct Data {
            secret_id: Zeroizing<String>,
        }
        let response = wrapped.unwrap("secret id", api, context).await?;
        let answer: Answer<'_> = api::of(&response, "cannot unwrap the secret id")?;
        let Some(Data { secret_id }) = answer.data.and_then(|data| serde_json::from_str(data.get()).ok()) else {
            let message = "cannot unwrap the secret id: the wrapping token holds no secret id";
            let hint = "`vault write -wrap-ttl=60s -f auth/approle/role/<role>/secret-id` makes one that does";
            return Err(ProviderError::new(ErrorKind::Denied, message).hint(hint));
        };
        kept.keep(&SecretValue::from(secret_id.as_bytes().to_vec()));
        Ok(secret_id)
    }
}
