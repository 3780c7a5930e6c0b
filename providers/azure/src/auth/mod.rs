//! The login methods: [`read()`] selects one, and each kind has its own file.

mod application;
mod certificate;
mod choice;
mod connections;
mod keys;
mod managed;
mod method;
mod reasons;
mod selected;
mod token_file;

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use handfast_core::{ErrorKind, ProviderError};

pub use choice::read;
pub use connections::Connections;
pub use keys::KEYS;
pub use method::Method;

/// Makes a credential for one token. It reads the files now, since they may change before the next token is needed. `had_token`
/// says whether this method has returned a token before.
pub fn credential(
    method: &Method,
    connections: &Connections,
    had_token: bool,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    match method {
        Method::Secret(application, secret) => application::by_secret(application, secret, connections),
        Method::Certificate(application, files) => application::by_certificate(application, files, connections),
        Method::Workload(application, token) => application::by_workload(application, token, connections),
        Method::AppService(endpoint, identity) => managed::app_service(endpoint, identity, connections),
        Method::Machine(machine, identity, passed_over) => {
            // A service that has responded before exists, even if it is busy now.
            let skipped = passed_over.as_deref().filter(|_| !had_token);
            managed::machine(machine, identity, skipped, connections)
        }
        Method::TokenFile(file) => token_file::token(file, &connections.context),
        Method::Nothing(complaint) => Err(complaint.clone().into_error(ErrorKind::Denied)),
    }
}
