//! Provider instances for the tests' Vault.

use std::sync::OnceLock;

use handfast_core::{Entry, Fetched, Found, Locator, ProviderError, SecretRef, Table};
use handfast_testkit::{Instance, Outside, Variables, table, text};
use handfast_testservers::{Postgres, Vault};
use handfast_vault::DEFINITION;

/// The environment with the address and the authority.
pub fn variables(vault: &Vault) -> Variables {
    Variables::default()
        .with("VAULT_ADDR", vault.address())
        .with("VAULT_CACERT", &vault.ca_file().display().to_string())
}

/// With the root token in the environment, and no configuration.
pub fn as_root(vault: &Vault) -> Instance {
    as_token(vault, vault.root_token())
}

/// With this token in the environment, and no configuration.
pub fn as_token(vault: &Vault, token: &str) -> Instance {
    connect(Table::default(), variables(vault).with_credential("VAULT_TOKEN", token))
}

/// With these settings and variables.
pub fn connect(settings: Table, variables: Variables) -> Instance {
    Instance::from_settings(&DEFINITION, settings, Outside { variables, ..Outside::default() })
}

/// Settings with the kinds of mounts: `mounts = { kv = "kv-v2" }`.
pub fn mounts<const N: usize>(kinds: [(&str, &str); N]) -> Table {
    table([("mounts", handfast_core::Value::Table(table(kinds.map(|(path, kind)| (path, text(kind))))))])
}

/// A reference's locator with `params`.
pub fn with_params(reference: &str, params: &serde_json::Value) -> Locator {
    let mut locator = SecretRef::parse(reference).expect("it is a reference").locator;
    locator.params = Some(params.to_string());
    locator
}

/// The secrets of a list, each with the path to fetch it by.
pub fn entries(fetched: Result<Fetched, ProviderError>) -> Vec<(String, String)> {
    let content = fetched.unwrap_or_else(|error| panic!("{:?}: {error}", error.kind)).content;
    let handfast_core::Content::List(entries) = content else { panic!("a list was asked for") };
    let entry = |Entry { name, found }: Entry| match found {
        Found::At(locator) => (name, locator.path),
        Found::Value(_) | Found::Nothing(_) => panic!("Vault's lists have names only"),
    };
    entries.into_iter().map(entry).collect()
}

/// The database that the tests of this process share.
pub fn postgres() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).as_ref()
}

/// Waits until a condition that another process fulfils is true.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("waited too long until {what}");
}
