//! How to get a token: which way is meant ([`read()`]), and a file for each kind of it.

mod application;
mod certificate;
mod given;
mod keys;
mod managed;
mod refused;
mod token_file;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use handfast_core::{Complaint, Context, Credential, ErrorKind, ProviderError};
use handfast_http::{Client, Options, Plaintext, Url};

use crate::wire::Wire;

pub use given::read;
pub use keys::KEYS;

/// A way to get a token, with its settings.
pub enum Method {
    /// A client secret of an application.
    Secret(Application, Credential),
    /// A client certificate of an application.
    Certificate(Application, certificate::Files),
    /// A token of the cluster, which Entra ID takes for an application's.
    Workload(Application, Credential),
    /// A managed identity of App Service or Container Apps.
    AppService(Url, managed::Identity),
    /// A managed identity of a virtual machine. With it stands what was passed over, where nobody has said that there is one.
    Machine(managed::Machine, managed::Identity, Option<Vec<String>>),
    /// A token that something else has put into a file.
    TokenFile(Credential),
    /// None: what there is lacks something.
    Nothing(Complaint),
}

/// An application of Entra ID.
pub struct Application {
    /// Its tenant: an id or a domain.
    pub tenant: String,
    /// Its id.
    pub client: String,
}

/// What getting a token takes from the outside.
pub struct Outside<'a> {
    /// Where Entra ID is.
    pub authority: &'a Url,
    /// How it is asked.
    pub options: &'a Options,
    /// Files, variables, the clock.
    pub context: &'a Context,
    /// Counts what is sent.
    pub requests: &'a Arc<AtomicU64>,
}

impl Outside<'_> {
    /// A way to Entra ID.
    fn entra(&self) -> Result<Wire, ProviderError> {
        self.wire(self.options.clone())
    }

    /// A way to a metadata service, which speaks clear text and is reached without a proxy.
    fn metadata(&self) -> Result<Wire, ProviderError> {
        let connect_timeout = Duration::from_secs(2);
        self.wire(Options { plaintext: Plaintext::Metadata, connect_timeout, ..Options::default() })
    }

    /// The same to learn whether there is one: where there is none, often nobody refuses the connection.
    fn probe(&self) -> Result<Wire, ProviderError> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let options = Options { total_timeout: PATIENCE, ..Options::default() };
        self.wire(Options { plaintext: Plaintext::Metadata, connect_timeout: PATIENCE, ..options })
    }

    fn wire(&self, options: Options) -> Result<Wire, ProviderError> {
        Ok(Wire::new(Client::new(options, self.context)?, self.requests.clone()))
    }
}

/// Makes the credential. What it needs of files and variables is read now, since the SDK may ask from anywhere.
pub fn credential(method: Method, outside: Outside<'_>) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    match method {
        Method::Secret(application, secret) => application::by_secret(&application, &secret, outside),
        Method::Certificate(application, files) => application::by_certificate(&application, &files, outside),
        Method::Workload(application, token) => application::by_workload(&application, &token, outside),
        Method::AppService(endpoint, identity) => managed::app_service(endpoint, identity, outside),
        Method::Machine(machine, identity, passed_over) => managed::machine(machine, identity, passed_over, outside),
        Method::TokenFile(file) => token_file::token(&file, outside.context),
        Method::Nothing(complaint) => Err(complaint.into_error(ErrorKind::Denied)),
    }
}
