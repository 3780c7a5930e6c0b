//! `kubernetes`: the token of a pod's service account.

use handfast_core::{BoxFuture, Context, Credential, ProviderError};
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;

use super::exchange::exchange;
use super::method::{Definition, Login, Method, ROLE};
use super::settings::AuthSettings;
use crate::api::Api;

pub const DEFINITION: Definition =
    Definition { name: "kubernetes", keys: &["mount", "role", "token_file", "jwt_file"], needs: &[ROLE], read };

/// The file of the token. kubelet replaces the token before it expires.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

struct Kubernetes {
    mount: String,
    role: String,
    token: Credential,
}

fn read(settings: &AuthSettings<'_>) -> Box<dyn Method> {
    let file = settings.string("token_file").or_else(|| settings.string("jwt_file"));
    Box::new(Kubernetes {
        mount: settings.mount(),
        role: settings.text("role", "VAULT_ROLE").unwrap_or_default(),
        token: Credential::File(file.unwrap_or(SERVICE_ACCOUNT).into()),
    })
}

impl Method for Kubernetes {
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let jwt = self.token.text("service account's token", context)?.to_string();
            let login = LoginWithKubernetesRequest { mount: self.mount.clone(), role: self.role.clone(), jwt };
            exchange(api, &login, DEFINITION.name, &self.mount).await
        })
    }
}
