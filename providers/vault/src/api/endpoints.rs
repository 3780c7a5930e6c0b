//! The endpoints that vaultrs does not have, or for which it lacks something.

use rustify::endpoint::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use serde::Serialize;

/// Any path: `GET` (developer.hashicorp.com/vault/docs/commands/read).
pub struct Read<'p>(pub &'p str);

/// The names below a path that ends with a slash (developer.hashicorp.com/vault/docs/commands/list).
pub struct List<'p>(pub &'p str);

/// Any path with parameters, as JSON (developer.hashicorp.com/vault/docs/commands/write).
pub struct Write<'p> {
    /// The path.
    pub path: &'p str,
    /// The parameters: a JSON object.
    pub params: &'p str,
}

/// The mount of a path. Any right below the mount is enough for this request
/// (developer.hashicorp.com/vault/api-docs/system/internal-ui-mounts).
pub struct Mount<'p>(pub &'p str);

/// Whether Vault is initialized, and sealed (developer.hashicorp.com/vault/api-docs/system/seal-status).
pub struct SealStatus;

/// The data that the request's token wraps (developer.hashicorp.com/vault/api-docs/system/wrapping-unwrap). vaultrs would send
/// the token twice.
pub struct Unwrap;

/// Revokes the request's token and all its leases (developer.hashicorp.com/vault/api-docs/auth/token). vaultrs' path starts with
/// a tab.
pub struct RevokeSelf;

/// Revokes a lease (developer.hashicorp.com/vault/api-docs/system/leases).
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
    /// The new lifetime in seconds.
    pub increment: u64,
}

/// Renews the request's token (developer.hashicorp.com/vault/api-docs/auth/token).
#[derive(Serialize)]
pub struct RenewSelf {
    /// The new lifetime in seconds.
    pub increment: u64,
}

/// The properties of the request's token (developer.hashicorp.com/vault/api-docs/auth/token).
pub struct LookupSelf;

/// A login with the client certificate of the TLS connection (developer.hashicorp.com/vault/api-docs/auth/cert). vaultrs sends
/// the role under a wrong name, so that Vault would accept any role.
#[derive(Serialize)]
pub struct CertLogin<'l> {
    /// The mount of the method.
    #[serde(skip)]
    pub mount: &'l str,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'l str>,
}

/// A login with the identity token of a cloud (developer.hashicorp.com/vault/api-docs/auth/gcp, …/auth/azure).
#[derive(Serialize)]
pub struct CloudLogin<'l> {
    /// The mount of the method.
    #[serde(skip)]
    pub mount: &'l str,
    /// The role.
    pub role: &'l str,
    /// The token.
    pub jwt: &'l str,
    /// For Azure: the machine that the token belongs to.
    #[serde(flatten)]
    pub machine: Option<Machine>,
}

/// A virtual machine of Azure, for roles that are bound to machines.
#[derive(Serialize)]
pub struct Machine {
    /// Its subscription.
    pub subscription_id: String,
    /// Its resource group.
    pub resource_group_name: String,
    /// Its name.
    pub vm_name: String,
    /// The scale set that it belongs to, or an empty text.
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
