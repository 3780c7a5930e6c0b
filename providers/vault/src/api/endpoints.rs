//! The endpoints that vaultrs does not have, or has without what is needed of them.

use rustify::endpoint::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use serde::Serialize;

/// Any path as it stands: `GET` (developer.hashicorp.com/vault/docs/commands/read).
pub struct Read<'p>(pub &'p str);

/// The names below any path, which ends with a slash (developer.hashicorp.com/vault/docs/commands/list).
pub struct List<'p>(pub &'p str);

/// Any path with parameters, as JSON (developer.hashicorp.com/vault/docs/commands/write).
pub struct Write<'p> {
    /// The path.
    pub path: &'p str,
    /// The parameters: a JSON object.
    pub params: &'p str,
}

/// What stands at a path: needs no more than any right below the mount
/// (developer.hashicorp.com/vault/api-docs/system/internal-ui-mounts).
pub struct Mount<'p>(pub &'p str);

/// Whether Vault is initialized, and sealed (developer.hashicorp.com/vault/api-docs/system/seal-status).
pub struct SealStatus;

/// What the token of the request wraps (developer.hashicorp.com/vault/api-docs/system/wrapping-unwrap). vaultrs sends the
/// token twice.
pub struct Unwrap;

/// Ends the token of the request, and all its leases (developer.hashicorp.com/vault/api-docs/auth/token). In vaultrs its path
/// starts with a tab.
pub struct RevokeSelf;

/// Ends a lease (developer.hashicorp.com/vault/api-docs/system/leases).
#[derive(Serialize)]
pub struct RevokeLease<'l> {
    /// The lease's id.
    pub lease_id: &'l str,
}

/// Renews a lease (developer.hashicorp.com/vault/api-docs/system/leases).
#[derive(Serialize)]
pub struct RenewLease<'l> {
    /// The lease's id.
    pub lease_id: &'l str,
    /// For how many seconds.
    pub increment: u64,
}

/// Renews the token of the request (developer.hashicorp.com/vault/api-docs/auth/token).
#[derive(Serialize)]
pub struct RenewSelf {
    /// For how many seconds.
    pub increment: u64,
}

/// What the token of the request is (developer.hashicorp.com/vault/api-docs/auth/token).
pub struct LookupSelf;

/// A login with the certificate that TLS has shown (developer.hashicorp.com/vault/api-docs/auth/cert). vaultrs sends the
/// role's name under a name that Vault does not know, so that any role would do.
#[derive(Serialize)]
pub struct CertLogin<'l> {
    /// Where the method is mounted.
    #[serde(skip)]
    pub mount: &'l str,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'l str>,
}

/// A login with the identity token of a cloud (developer.hashicorp.com/vault/api-docs/auth/gcp, …/auth/azure).
#[derive(Serialize)]
pub struct CloudLogin<'l> {
    /// Where the method is mounted.
    #[serde(skip)]
    pub mount: &'l str,
    /// The role.
    pub role: &'l str,
    /// The token.
    pub jwt: &'l str,
    /// Azure: which machine the token is of.
    #[serde(flatten)]
    pub machine: Option<Machine>,
}

/// A virtual machine of Azure, for roles that are bound to where it is.
#[derive(Serialize)]
pub struct Machine {
    /// Its subscription.
    pub subscription_id: String,
    /// Its resource group.
    pub resource_group_name: String,
    /// Its name.
    pub vm_name: String,
    /// The scale set that it belongs to; empty for none.
    pub vmss_name: String,
}

macro_rules! endpoint {
    ($name:ty, $method:ident, |$self:ident| $path:expr $(, $body:expr)?) => {
        impl Endpoint for $name {
            type Response = ();
            const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
            const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

            fn path(&self) -> String {
                let $self = self;
                $path
            }

            fn method(&self) -> RequestMethod {
                RequestMethod::$method
            }

            $(fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
                let $self = self;
                $body
            })?
        }
    };
}

endpoint!(Read<'_>, GET, |this| this.0.to_owned());
endpoint!(List<'_>, LIST, |this| this.0.to_owned());
endpoint!(Write<'_>, PUT, |this| this.path.to_owned(), Ok(Some(this.params.as_bytes().to_vec())));
endpoint!(Mount<'_>, GET, |this| format!("sys/internal/ui/mounts/{}", this.0));
endpoint!(
    CertLogin<'_>,
    POST,
    |this| format!("auth/{}/login", this.mount),
    rustify::http::build_body(this, RequestType::JSON).map(Some)
);
endpoint!(
    CloudLogin<'_>,
    POST,
    |this| format!("auth/{}/login", this.mount),
    rustify::http::build_body(this, RequestType::JSON).map(Some)
);
endpoint!(SealStatus, GET, |_this| "sys/seal-status".to_owned());
endpoint!(Unwrap, PUT, |_this| "sys/wrapping/unwrap".to_owned());
endpoint!(RevokeSelf, PUT, |_this| "auth/token/revoke-self".to_owned());
endpoint!(
    RevokeLease<'_>,
    PUT,
    |_this| "sys/leases/revoke".to_owned(),
    rustify::http::build_body(_this, RequestType::JSON).map(Some)
);
endpoint!(
    RenewLease<'_>,
    PUT,
    |_this| "sys/leases/renew".to_owned(),
    rustify::http::build_body(_this, RequestType::JSON).map(Some)
);
endpoint!(
    RenewSelf,
    PUT,
    |_this| "auth/token/renew-self".to_owned(),
    rustify::http::build_body(_this, RequestType::JSON).map(Some)
);
endpoint!(LookupSelf, GET, |_this| "auth/token/lookup-self".to_owned());
