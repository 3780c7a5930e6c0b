//! The variables that hold credentials of the stores: complete, whatever is compiled in, because the app must not get them.
#![forbid(unsafe_code)]

use handfast_core::Table;

/// Bootstrap credentials by variable: what logs in to a store, or to who says who we are to it, whichever tool the variable is named
/// for. Where the app got it, it could fetch what handfast fetches, and more. Addresses, regions, role names, role ids and paths of
/// token files are none.
///
/// HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, in either case, are none, though a password may stand in them: it opens the way to a proxy
/// and no store, and the app's own clients read these variables, so that it would lose its network without them. `env_remove` takes
/// them out.
const CREDENTIALS: &[&str] = &[
    // Vault: https://developer.hashicorp.com/vault/docs/commands#environment-variables; secret-init's and vault-env's VAULT_SECRET_ID,
    // VAULT_JWT. OpenBao reads the same with its own prefix.
    "VAULT_TOKEN",
    "VAULT_SECRET_ID",
    "VAULT_JWT",
    "BAO_TOKEN",
    "BAO_SECRET_ID",
    "BAO_JWT",
    // AWS: https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html; the last three are older names that
    // some SDKs still read.
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_KEY",
    // Azure: https://learn.microsoft.com/azure/developer/python/sdk/authentication-environment-variables; the headers are what
    // App Service and Container Apps ask for before they give a managed identity's token.
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
    "IDENTITY_HEADER",
    "MSI_SECRET",
    // The token itself, where AZURE_FEDERATED_TOKEN_FILE has the path of one; and the same credentials as Terraform calls them:
    // https://registry.terraform.io/providers/hashicorp/azurerm/latest/docs. handfast itself reads neither: it has names for each.
    "AZURE_FEDERATED_TOKEN",
    "ARM_CLIENT_SECRET",
    "ARM_CLIENT_CERTIFICATE_PASSWORD",
    "ARM_OIDC_TOKEN",
];

/// The keys of `[providers.NAME] auth` that name a variable with a credential, whatever provider is compiled in.
const NAMING: &[&str] = &["token_env", "jwt_env", "secret_id_env", "password_env", "client_secret_env"];

/// The variables that a provider's settings name as credentials. A name that is still to be interpolated, or is none, is left out.
pub fn named(settings: &Table) -> impl Iterator<Item = &str> {
    let auth = settings.table("auth");
    let names = NAMING.iter().filter_map(move |key| auth?.string(key));
    names.filter(|name| handfast_core::keys::is_variable(name))
}

/// Whether a variable holds a bootstrap credential.
pub fn is_credential(name: &[u8]) -> bool {
    CREDENTIALS.iter().any(|known| known.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::DEFINITIONS;

    #[test]
    fn each_providers_own_part_is_in_the_list() {
        for definition in DEFINITIONS {
            for variable in definition.bootstrap {
                assert!(
                    is_credential(variable.as_bytes()),
                    "`{variable}` of `{}` would reach the app",
                    definition.name
                );
            }
        }
    }
}
