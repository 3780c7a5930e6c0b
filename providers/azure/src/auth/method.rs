//! The login methods.

use std::fmt;

use handfast_core::{Complaint, Credential, excerpt};
use handfast_http::Url;

use super::{certificate, managed};

/// A login method with its settings.
pub enum Method {
    /// A client secret of an application.
    Secret(Application, Credential),
    /// A client certificate of an application.
    Certificate(Application, certificate::Files),
    /// A token of the cluster, which Entra ID accepts as an application's credential.
    Workload(Application, Credential),
    /// A managed identity of App Service or Container Apps.
    AppService(Url, managed::Identity),
    /// A managed identity of a virtual machine. If no setting names it, also the methods that were skipped.
    Machine(managed::Machine, managed::Identity, Option<Vec<String>>),
    /// A token in a file, which another program writes.
    TokenFile(Credential),
    /// No usable method, for this reason.
    Nothing(Complaint),
}

impl Method {
    /// The method and its identity, for the log.
    pub fn description(&self) -> String {
        match self {
            Method::Secret(application, _) => format!("client-secret of {application}"),
            Method::Certificate(application, _) => format!("client-certificate of {application}"),
            Method::Workload(application, _) => format!("workload-identity of {application}"),
            Method::AppService(_, identity) => format!("managed-identity{identity} of IDENTITY_ENDPOINT"),
            Method::Machine(_, identity, _) => format!("managed-identity{identity} of this machine"),
            Method::TokenFile(_) => "token-file".to_owned(),
            Method::Nothing(_) => "no login method".to_owned(),
        }
    }
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the application `{}` of `{}`", excerpt(&self.client), excerpt(&self.tenant))
    }
}

/// An application of Entra ID.
pub struct Application {
    /// Its tenant: an id or a domain.
    pub tenant: String,
    /// Its id.
    pub client: String,
}
