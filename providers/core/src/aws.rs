//! What one provider needs of another: proof of an AWS identity, for a store that accepts it as a login.

use crate::error::{ErrorKind, ProviderError};
use crate::provider::BoxFuture;
use crate::secret::SecretValue;

/// Signs as an AWS identity: that of the keys in the environment, of a pod's role, of a machine.
pub trait AwsIdentity {
    /// A request for STS' `GetCallerIdentity`, signed and not sent: whoever sends it learns who signed it
    /// (docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
    ///
    /// `region` is that of the STS to be asked, `None` for the global one. `headers` are signed along with it.
    fn sign_caller_identity<'a>(
        &'a self,
        region: Option<&'a str>,
        headers: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<SignedRequest, ProviderError>>;
}

/// Nobody: signs nothing.
pub struct NoAwsIdentity;

impl AwsIdentity for NoAwsIdentity {
    fn sign_caller_identity<'a>(
        &'a self,
        _: Option<&'a str>,
        _: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<SignedRequest, ProviderError>> {
        Box::pin(async { Err(ProviderError::new(ErrorKind::Denied, "no AWS identity")) })
    }
}

/// A signed request: `POST`. Whoever has it can pass for the identity until its signature ends, 15 minutes later.
pub struct SignedRequest {
    /// Where it is to be sent.
    pub url: String,
    /// Its headers, in order of name.
    pub headers: Vec<(String, SecretValue)>,
    /// Its body.
    pub body: String,
}
