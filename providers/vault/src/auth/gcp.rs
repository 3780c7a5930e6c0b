//! `gcp`: the identity token of a Google virtual machine, or an identity token in a file.

use handfast_core::{BoxFuture, Context, Credential, ErrorKind, ProviderError};
use zeroize::Zeroizing;

use super::exchange::exchange;
use super::metadata::Service;
use super::method::{Definition, Login, Method, ROLE};
use super::settings::AuthSettings;
use crate::api::{Api, endpoints};

pub const DEFINITION: Definition =
    Definition { name: "gcp", keys: &["mount", "role", "jwt_file"], needs: &[ROLE], read };

/// cloud.google.com/compute/docs/instances/verifying-instance-identity
const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/identity";

struct Gcp {
    mount: String,
    role: String,
    token: Option<Credential>,
    metadata_host: String,
}

fn read(settings: &AuthSettings<'_>) -> Box<dyn Method> {
    Box::new(Gcp {
        mount: settings.mount(),
        role: settings.text("role", "VAULT_ROLE").unwrap_or_default(),
        token: settings.string("jwt_file").map(|file| Credential::File(file.into())),
        // Google's own libraries read this variable, and use this address to avoid a name look-up of `metadata.google.internal`.
        metadata_host: settings.environment().variable("GCE_METADATA_HOST").unwrap_or("169.254.169.254").to_owned(),
    })
}

impl Method for Gcp {
    fn uses_other_servers(&self) -> bool {
        true
    }

    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let jwt = match &self.token {
                Some(token) => token.text("identity token", context)?,
                None => self.machine_token(context).await?,
            };
            let login = endpoints::CloudLogin { mount: &self.mount, role: &self.role, jwt: &jwt, machine: None };
            exchange(api, &login, DEFINITION.name, &self.mount).await
        })
    }
}

impl Gcp {
    async fn machine_token(&self, context: &Context) -> Result<Zeroizing<String>, ProviderError> {
        let attempted = "cannot get an identity token of this machine";
        let metadata = Service::new(&self.metadata_host, ("metadata-flavor", "Google"), context)?;
        // Vault requires that the audience names the role. `full` adds the machine to the token, which Vault requires too.
        let audience = format!("http://vault/{}", self.role);
        let response = metadata.get(PATH, &[("audience", &audience), ("format", "full")], attempted).await?;
        match std::str::from_utf8(response.body().expose().trim_ascii()) {
            Ok(token) if !token.is_empty() => Ok(Zeroizing::new(token.to_owned())),
            _ => Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: the answer is none"))),
        }
    }
}
