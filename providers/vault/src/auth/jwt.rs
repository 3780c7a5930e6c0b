//! `jwt`: a JSON web token from an issuer that Vault trusts.

use handfast_core::{BoxFuture, Context, Credential, ProviderError};
use vaultrs::api::auth::oidc::requests::JWTLoginRequest;

use super::exchange::exchange;
use super::method::{Definition, Login, Method};
use super::settings::AuthSettings;
use crate::api::Api;

// A mount can have a default role for logins without a role.
pub const DEFINITION: Definition =
    Definition { name: "jwt", keys: &["mount", "role", "jwt_file", "jwt_env"], needs: &[], read };

struct Jwt {
    mount: String,
    role: Option<String>,
    token: Credential,
}

fn read(settings: &AuthSettings<'_>) -> Box<dyn Method> {
    Box::new(Jwt {
        mount: settings.mount(),
        role: settings.text("role", "VAULT_ROLE"),
        token: settings.credential("jwt", "VAULT_JWT"),
    })
}

impl Method for Jwt {
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let jwt = self.token.text("JSON web token", context)?.to_string();
            let login = JWTLoginRequest { mount: self.mount.clone(), jwt, role: self.role.clone() };
            exchange(api, &login, DEFINITION.name, &self.mount).await
        })
    }
}
