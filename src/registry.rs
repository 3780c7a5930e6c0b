//! The providers that are compiled in. No other file names a provider crate.
#![forbid(unsafe_code)]

use std::rc::Rc;

use handfast_core::{AwsIdentity, BoxFuture, Clock, Definition, Environment, ErrorKind, ProviderError, SignedRequest};

/// The providers, by name.
pub const DEFINITIONS: &[&Definition] =
    &[&handfast_file::DEFINITION, &handfast_mock::DEFINITION, &handfast_vault::DEFINITION];

/// Providers of the contract that this version does not have: named when used, absent from the schema.
pub const NOT_IN_THIS_VERSION: &[&str] = &["aws", "azure", "exec"];

/// The provider of that name.
pub fn find(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().copied().find(|definition| definition.name == name)
}

/// Who signs as an AWS identity, for providers that log in with one.
pub fn aws_identity(_: Rc<dyn Environment>, _: Rc<dyn Clock>) -> Rc<dyn AwsIdentity> {
    struct NotInThisVersion;
    impl AwsIdentity for NotInThisVersion {
        fn sign_caller_identity<'a>(
            &'a self,
            _: Option<&'a str>,
            _: &'a [(&'a str, &'a str)],
        ) -> BoxFuture<'a, Result<SignedRequest, ProviderError>> {
            Box::pin(async { Err(ProviderError::new(ErrorKind::Denied, "AWS identities are not in this version")) })
        }
    }
    Rc::new(NotInThisVersion)
}
