//! The ways to get a token.

use handfast_core::{Complaint, Credential};
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

/// An application of Entra ID.
pub struct Application {
    /// Its tenant: an id or a domain.
    pub tenant: String,
    /// Its id.
    pub client: String,
}
