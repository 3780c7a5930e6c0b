//! A login to one provider's store with the identity of another provider, such as a login to Vault with an AWS role.

use std::rc::Rc;

use crate::error::{ErrorKind, ProviderError};
use crate::future::BoxFuture;
use crate::secret::SecretValue;

/// An identity that a provider can prove, such as the identity of keys in the environment, of a pod's role, or of a machine.
pub trait Identity {
    /// Signs, but does not send, a request whose response names its signer. A store that sends the request learns the identity.
    ///
    /// `region` is the region of the service, `None` for the global service. `headers` are signed too.
    fn sign_request<'a>(
        &'a self,
        region: Option<&'a str>,
        headers: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<SignedRequest, ProviderError>>;
}

/// A signed `POST` request. Its holder can log in as the identity until the signature expires, some minutes later.
pub struct SignedRequest {
    /// The URL to send the request to.
    pub url: String,
    /// Its headers, in order of name.
    pub headers: Vec<(String, SecretValue)>,
    /// Its body.
    pub body: String,
}

/// The identities that providers can prove, by provider name.
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
