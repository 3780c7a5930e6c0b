//! The providers that are compiled in. No other file names a provider crate.
#![forbid(unsafe_code)]

use handfast_core::Definition;

/// The providers, by name.
pub const DEFINITIONS: &[&Definition] = &[&handfast_file::DEFINITION, &handfast_mock::DEFINITION];

/// Providers of the contract that this version does not have: named when used, absent from the schema.
pub const NOT_IN_THIS_VERSION: &[&str] = &["aws", "azure", "exec", "vault"];

/// The provider of that name.
pub fn find(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().copied().find(|definition| definition.name == name)
}
