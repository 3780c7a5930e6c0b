//! The ways to get a token.

use std::fmt;

use handfast_core::{Complaint, Credential, excerpt};
use handfast_http::Url;

use super::{certificate, managed};

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

impl Method {
    /// The way and whose identity it is, for the log.
    pub fn described(&self) -> String {
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
