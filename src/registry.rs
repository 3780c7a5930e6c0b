//! The providers that are compiled in. No other file names a provider crate.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use handfast_core::{AwsIdentity, Clock, Definition, Environment, Files};

/// The providers, by name.
pub const DEFINITIONS: &[&Definition] = &[
    &handfast_aws::DEFINITION,
    &handfast_azure::DEFINITION,
    &handfast_file::DEFINITION,
    &handfast_mock::DEFINITION,
    &handfast_vault::DEFINITION,
];

/// Providers of the contract that this version does not have: named when used, absent from the schema.
pub const NOT_IN_THIS_VERSION: &[&str] = &["exec"];

/// The provider of that name.
pub fn find(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().copied().find(|definition| definition.name == name)
}

/// Who signs as an AWS identity, for providers that log in with one.
pub fn aws_identity(
    environment: Rc<dyn Environment>,
    files: Rc<dyn Files>,
    clock: Arc<dyn Clock>,
) -> Rc<dyn AwsIdentity> {
    Rc::new(handfast_aws::Identity::new(environment, files, clock))
}
