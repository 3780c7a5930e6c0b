//! `azure`: the identity token of an Azure virtual machine, or an identity token in a file.

use handfast_core::{BoxFuture, Context, Credential, ProviderError};
use handfast_http::Response;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::exchange::exchange;
use super::metadata::Service;
use super::method::{Definition, Login, Method, ROLE};
use super::settings::AuthSettings;
use crate::api::endpoints::{CloudLogin, Machine};
use crate::api::{self, Api};

pub const DEFINITION: Definition =
    Definition { name: "azure", keys: &["mount", "role", "jwt_file"], needs: &[ROLE], read };

/// The address of the metadata service on every machine (learn.microsoft.com/azure/virtual-machines/instance-metadata-service).
const HOST: &str = "169.254.169.254";

/// The token's audience: the `resource` in the examples of Vault's documentation. The mount's `config` must have the same.
const RESOURCE: &str = "https://management.azure.com/";

struct Azure {
    mount: String,
    role: String,
    token: Option<Credential>,
    /// The identity to use, if the machine has several.
    client_id: Option<String>,
}

fn read(settings: &AuthSettings<'_>) -> Box<dyn Method> {
    Box::new(Azure {
        mount: settings.mount(),
        role: settings.text("role", "VAULT_ROLE").unwrap_or_default(),
        token: settings.string("jwt_file").map(|file| Credential::File(file.into())),
        client_id: settings.environment().variable("AZURE_CLIENT_ID").map(str::to_owned),
    })
}

impl Method for Azure {
    fn uses_other_servers(&self) -> bool {
        true
    }

    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let (jwt, machine) = match &self.token {
                Some(token) => (token.text("identity token", context)?, None),
                None => {
                    let metadata = Service::new(HOST, ("metadata", "true"), context)?;
                    (self.machine_token(&metadata).await?, Some(machine(&metadata).await?))
                }
            };
            let login = CloudLogin { mount: &self.mount, role: &self.role, jwt: &jwt, machine };
            exchange(api, &login, DEFINITION.name, &self.mount).await
        })
    }
}

impl Azure {
    /// learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
    async fn machine_token(&self, metadata: &Service) -> Result<Zeroizing<String>, ProviderError> {
        #[derive(Deserialize)]
        struct Token {
            access_token: Zeroizing<String>,
        }
        let attempted = "cannot get an identity token of this machine";
        let mut query = vec![("api-version", "2018-02-01"), ("resource", RESOURCE)];
        query.extend(self.client_id.as_deref().map(|id| ("client_id", id)));
        let response = metadata.get("/metadata/identity/oauth2/token", &query, attempted).await?;
        let Token { access_token } = answer(&response, attempted)?;
        Ok(access_token)
    }
}

/// The machine's name and groups, for roles that are bound to machines.
async fn machine(metadata: &Service) -> Result<Machine, ProviderError> {
    #[derive(Deserialize)]
    struct Instance {
        compute: Compute,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Compute {
        subscription_id: String,
        resource_group_name: String,
        name: String,
        #[serde(default)]
        vm_scale_set_name: String,
    }
    let attempted = "cannot ask which machine this is";
    let response = metadata.get("/metadata/instance", &[("api-version", "2021-02-01")], attempted).await?;
    let Instance { compute } = answer(&response, attempted)?;
    Ok(Machine {
        subscription_id: compute.subscription_id,
        resource_group_name: compute.resource_group_name,
        vm_name: compute.name,
        vmss_name: compute.vm_scale_set_name,
    })
}

fn answer<'a, T: Deserialize<'a>>(response: &'a Response, attempted: &str) -> Result<T, ProviderError> {
    api::read("the metadata service's answer", response, attempted)
}
