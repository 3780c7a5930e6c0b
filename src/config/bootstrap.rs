//! The variables that hold credentials for stores. The app must not inherit them, so the list is complete even for stores that
//! are not compiled in.
#![forbid(unsafe_code)]

use handfast_core::Table;

/// The variables with bootstrap credentials: credentials that log in to a store, or to a service that issues an identity for a
/// store, whatever tool the variable is made for. An app that inherited such a credential could fetch all that handfast fetches,
/// and more. Addresses, regions, role names, role ids and paths of token files are no credentials.
///
/// HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, in upper or lower case, are not in the list, although they may contain a password. The
/// password is for a proxy and not for a store, and the app's own clients need these variables to reach the network. `env_remove`
/// removes them.
const CREDENTIALS: &[&str] = &[
    // Vault: https://developer.hashicorp.com/vault/docs/commands#environment-variables; VAULT_SECRET_ID and VAULT_JWT are from
    // secret-init and vault-env. OpenBao reads the same variables with its own prefix.
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
    // Azure: https://learn.microsoft.com/azure/developer/python/sdk/authentication-environment-variables; App Service and
    // Container Apps require the headers in a request for a managed identity's token.
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
    "IDENTITY_HEADER",
    "MSI_SECRET",
    // A token itself, where AZURE_FEDERATED_TOKEN_FILE has the path of a token; and Terraform's names for the same credentials:
    // https://registry.terraform.io/providers/hashicorp/azurerm/latest/docs. handfast reads none of these variables.
    "AZURE_FEDERATED_TOKEN",
    "ARM_CLIENT_SECRET",
    "ARM_CLIENT_CERTIFICATE_PASSWORD",
    "ARM_OIDC_TOKEN",
];

/// The keys of `[providers.NAME] auth` that name a variable with a credential, for all providers, compiled in or not.
const NAMING: &[&str] = &["token_env", "jwt_env", "secret_id_env", "password_env", "client_secret_env"];

/// The variables that a provider's settings name as credentials. Names that are not yet interpolated, or invalid, are left out.
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
