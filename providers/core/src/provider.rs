//! What a provider is: a [`Definition`], which makes a [`Configured`] instance from settings, which connects to a [`Provider`].

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use crate::context::Context;
use crate::error::ProviderError;
use crate::keys::Key;
use crate::problem::Problems;
use crate::reference::Locator;
use crate::secret::SecretValue;
use crate::settings::Settings;

/// A future that needs no other thread: the worker has one.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A kind of provider, as a list of its parts. Each provider crate exports one as `DEFINITION`.
pub struct Definition {
    /// Its name: `type` in `[providers.NAME]`, and the first part of a reference to an instance without settings.
    pub name: &'static str,
    /// What stands between `:` and `?` in its references, for a message: `/absolute/path`.
    pub locator: &'static str,
    /// Its own keys in `[providers.NAME]`.
    pub keys: &'static [Key],
    /// The keys that its references' queries take, besides `decode`.
    pub parameters: &'static [&'static str],
    /// The variables that hold its bootstrap credentials; they never reach the app.
    pub bootstrap: &'static [&'static str],
    /// Reads the settings, whose keys and types are already checked. Runs before the fork: it opens nothing.
    pub configure: fn(Settings, &mut Problems) -> Box<dyn Configured>,
}

/// A provider instance that knows its settings and has not touched anything yet.
pub trait Configured {
    /// Whether a locator can be asked for at all. The error says what is wrong, and what is expected instead.
    fn check(&self, locator: &Locator) -> Result<(), (String, String)>;

    /// What a user should be told at each start, if anything.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Makes the client. Runs in the worker, once, and only when the instance is in use.
    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError>;
}

/// A connection to a store.
///
/// # Behaviour
/// The conformance suite (`testkit`) holds every provider to this:
/// - [`fetch`](Provider::fetch) gives the whole value, byte for byte; the selection of fields is not its business.
/// - It does not retry: the scheduler does, for [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) alone, until the deadline.
/// - It can be dropped at any await point: no task and no request outlives it.
/// - No error's `Display` or `Debug` holds a value, a credential or a response's body.
pub trait Provider {
    /// Fetches what a locator names.
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>>;
}

/// A provider's answer.
#[non_exhaustive]
pub struct Fetched {
    /// The whole value.
    pub value: SecretValue,
}

impl From<SecretValue> for Fetched {
    fn from(value: SecretValue) -> Self {
        Self { value }
    }
}
