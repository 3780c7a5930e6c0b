//! Proof of an identity by one provider, for another provider whose store accepts the proof as a login.

use std::rc::Rc;

use crate::error::{ErrorKind, ProviderError};
use crate::future::BoxFuture;
use crate::secret::SecretValue;

/// An identity that a provider can prove, such as the identity of keys in the environment, of a pod's role, or of a machine.
pub trait Identity {
    /// Signs a request that asks the identity's service for the signer, without sending it. The sender of the request learns the
    /// identity.
    ///
    /// `region` is the region of the service, `None` for the global service. `headers` are signed too.
    fn sign_request<'a>(
        &'a self,
        region: Option<&'a str>,
        headers: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<SignedRequest, ProviderError>>;
}

/// A signed `POST` request. Its holder can act as the identity until its signature expires, some minutes later.
pub struct SignedRequest {
    /// The URL to send the request to.
    pub url: String,
    /// Its headers, in order of name.
    pub headers: Vec<(String, SecretValue)>,
    /// Its body.
    pub body: String,
}

/// The identities that can be proved, by the names of their providers. Empty by default.
#[derive(Clone, Default)]
pub struct Identities(Rc<Vec<(&'static str, Rc<dyn Identity>)>>);

impl Identities {
    /// The identity that the provider of this name can prove.
    pub fn of(&self, provider: &str) -> Result<&dyn Identity, ProviderError> {
        let found = self.0.iter().find(|(name, _)| *name == provider).map(|(_, identity)| &**identity);
        found.ok_or_else(|| ProviderError::new(ErrorKind::Denied, format!("the provider `{provider}` has no identity")))
    }
}

impl FromIterator<(&'static str, Rc<dyn Identity>)> for Identities {
    fn from_iter<I: IntoIterator<Item = (&'static str, Rc<dyn Identity>)>>(identities: I) -> Self {
        Self(Rc::new(identities.into_iter().collect()))
    }
}
