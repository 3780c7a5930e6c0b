//! How to get a token: which way is meant ([`read()`]), and a file for each kind of it.

mod application;
mod certificate;
mod given;
mod keys;
mod managed;
mod method;
mod outside;
mod refused;
mod selected;
mod token_file;

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use handfast_core::{ErrorKind, ProviderError};

pub use given::read;
pub use keys::KEYS;
pub use method::Method;
pub use outside::Outside;

/// Makes a credential for one token. It reads its files now, because they may have changed before the next token is due.
/// `is_known` says whether this method has given a token before.
pub fn credential(
    method: &Method,
    outside: &Outside,
    is_known: bool,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    match method {
        Method::Secret(application, secret) => application::by_secret(application, secret, outside),
        Method::Certificate(application, files) => application::by_certificate(application, files, outside),
        Method::Workload(application, token) => application::by_workload(application, token, outside),
        Method::AppService(endpoint, identity) => managed::app_service(endpoint, identity, outside),
        Method::Machine(machine, identity, passed_over) => {
            // A service that has answered before exists, even if it is busy now.
            let guessed = passed_over.as_deref().filter(|_| !is_known);
            managed::machine(machine, identity, guessed, outside)
        }
        Method::TokenFile(file) => token_file::token(file, &outside.context),
        Method::Nothing(complaint) => Err(complaint.clone().into_error(ErrorKind::Denied)),
    }
}
