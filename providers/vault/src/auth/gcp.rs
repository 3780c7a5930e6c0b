//! `gcp`: the identity token of a machine of Google's, or one in a file.

use handfast_core::{BoxFuture, Context, Credential, ErrorKind, ProviderError};
use zeroize::Zeroizing;

use super::exchange::exchange;
use super::given::Given;
use super::metadata::Service;
use super::method::{Definition, Login, Method, ROLE};
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

fn read(given: &Given<'_>) -> Box<dyn Method> {
    Box::new(Gcp {
        mount: given.mount(),
        role: given.text("role", "VAULT_ROLE").unwrap_or_default(),
        token: given.written("jwt_file").map(|file| Credential::File(file.into())),
        // As Google's own libraries take it, which spare the machine a look-up of `metadata.google.internal` too.
        metadata_host: given.environment().variable("GCE_METADATA_HOST").unwrap_or("169.254.169.254").to_owned(),
    })
}

impl Method for Gcp {
    fn asks_others(&self) -> bool {
        true
    }

    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let jwt = match &self.token {
                Some(token) => token.text("identity token", context)?,
                None => self.of_the_machine(context).await?,
            };
            let login = endpoints::CloudLogin { mount: &self.mount, role: &self.role, jwt: &jwt, machine: None };
            exchange(api, &login, DEFINITION.name, &self.mount).await
        })
    }
}

impl Gcp {
    async fn of_the_machine(&self, context: &Context) -> Result<Zeroizing<String>, ProviderError> {
        let attempted = "cannot get an identity token of this machine";
        let metadata = Service::new(&self.metadata_host, ("metadata-flavor", "Google"), context)?;
        // Vault takes no token for another role, nor one without the machine in it, which is what `full` adds.
        let audience = format!("http://vault/{}", self.role);
        let response = metadata.ask(PATH, &[("audience", &audience), ("format", "full")], attempted).await?;
        match std::str::from_utf8(response.body().expose().trim_ascii()) {
            Ok(token) if !token.is_empty() => Ok(Zeroizing::new(token.to_owned())),
            _ => Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: the answer is none"))),
        }
    }
}
