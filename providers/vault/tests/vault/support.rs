//! An instance of the provider that talks to the tests' Vault.

use handfast_core::Table;
use handfast_testkit::{Instance, Outside, Variables};
use handfast_testservers::Vault;
use handfast_vault::DEFINITION;

/// The environment that Vault's own tools need.
pub fn variables(vault: &Vault) -> Variables {
    Variables::default()
        .with("VAULT_ADDR", vault.address())
        .with("VAULT_CACERT", &vault.ca_file().display().to_string())
}

/// With the root token in the environment, and no configuration.
pub fn as_root(vault: &Vault) -> Instance {
    connect(Table::default(), variables(vault).with_credential("VAULT_TOKEN", vault.root_token()))
}

/// With these settings and variables.
pub fn connect(settings: Table, variables: Variables) -> Instance {
    Instance::from_settings(&DEFINITION, settings, Outside { variables, ..Outside::default() })
}
