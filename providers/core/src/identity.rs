//! What one provider needs of another: proof of an identity, for a store that accepts it as a login.

use std::rc::Rc;

use crate::error::{ErrorKind, ProviderError};
use crate::future::BoxFuture;
use crate::secret::SecretValue;

/// An identity that a provider has: that of keys in the environment, of a pod's role, of a machine.
pub trait Identity {
    /// A request that asks the identity's own service who has signed it, signed and not sent: whoever sends it learns the
    /// identity.
    ///
    /// `region` is that of the service to be asked, `None` for the global one. `headers` are signed too.
    fn sign_request<'a>(
        &'a self,
        region: Option<&'a str>,
        headers: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<SignedRequest, ProviderError>>;
}

/// A signed request: `POST`. Whoever has it can pass for the identity until its signature ends, some minutes later.
pub struct SignedRequest {
    /// Where it is to be sent.
    pub url: String,
    /// Its headers, in order of name.
    pub headers: Vec<(String, SecretValue)>,
    /// Its body.
    pub body: String,
}

/// The identities that can be proved, by the names of their providers. By default there are none.
#[derive(Clone, Default)]
pub struct Identities(Rc<Vec<(&'static str, Rc<dyn Identity>)>>);

impl Identities {
    /// The identity of the provider of this name.
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
