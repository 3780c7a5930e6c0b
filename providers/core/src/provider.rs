//! What a provider is: a [`Definition`], which makes a [`Configured`] instance from settings, which connects to a [`Provider`].

use std::rc::Rc;
use std::time::Duration;

use crate::complaint::Complaint;
use crate::context::Context;
use crate::error::ProviderError;
use crate::future::BoxFuture;
use crate::identity::Identity;
use crate::keys::Key;
use crate::problem::Problems;
use crate::reference::Locator;
use crate::secret::SecretValue;
use crate::settings::Settings;

/// A kind of provider, as a list of its parts. Each provider crate exports one as `DEFINITION`.
pub struct Definition {
    /// Its name: `type` in `[providers.NAME]`, and the first part of a reference to an instance without settings.
    pub name: &'static str,
    /// Its own keys in `[providers.NAME]`.
    pub keys: &'static [Key],
    /// The keys that its references' queries take, besides `decode`.
    pub parameters: &'static [&'static str],
    /// Whether `params` in `[secrets.NAME]` makes its reference a write.
    pub writes: bool,
    /// The variables that hold its bootstrap credentials: its part of the list of those that never reach the app.
    pub bootstrap: &'static [&'static str],
    /// Makes the identity that it can prove to other providers' stores, if it has one.
    pub identity: Option<fn(Context) -> Rc<dyn Identity>>,
    /// Reads the settings, whose keys and types are already checked. Runs before the fork: it opens nothing.
    pub configure: fn(Settings<'_>, &mut Problems) -> Box<dyn Configured>,
}

/// A provider instance that knows its settings and has not touched anything yet.
pub trait Configured {
    /// What is missing or wrong outside its own settings, such as a variable. Asked once, and only of an instance that a
    /// reference names: a configuration can be tried where its stores' variables are not set.
    fn missing(&self) -> Vec<Complaint> {
        Vec::new()
    }

    /// Whether a locator can be asked for at all.
    fn check(&self, locator: &Locator) -> Result<(), Complaint>;

    /// Which sockets it needs to talk to its store: the worker is made ready for these, and can open no others.
    fn sockets(&self) -> Sockets {
        Sockets::default()
    }

    /// Whether a locator names several secrets, such as `kv/web/*`.
    fn is_list(&self, _: &Locator) -> bool {
        false
    }

    /// How often a request that fails for now is tried again; until the deadline where the provider has no limit of its own.
    fn max_retries(&self) -> Option<u32> {
        None
    }

    /// The other provider as whose identity it logs in, if any: what a handfast without that one cannot do.
    fn identity_of(&self) -> Option<&'static str> {
        None
    }

    /// A warning that a user gets at each start, if any.
    fn warning(&self) -> Option<String> {
        None
    }

    /// The least-privilege policy that these locators need, in the store's own language, from the settings alone; `None` where the
    /// store has no policies. The text is the same each time.
    fn policy(&self, _: &[&Locator]) -> Option<String> {
        None
    }

    /// Makes the client. Runs in the worker, once, and only when the instance is in use.
    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError>;
}

/// The kinds of sockets that a provider needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Those of the internet, to addresses that may be host names.
    pub internet: bool,
    /// A Unix socket with a path.
    pub unix: bool,
}

impl Sockets {
    /// Those of a store on the network.
    pub const INTERNET: Self = Self { internet: true, unix: false };

    /// Whether it needs any.
    pub fn any(self) -> bool {
        self.internet || self.unix
    }
}

/// A connection to a store.
///
/// # Behaviour
/// The conformance suite (`testkit`) holds every provider to this:
/// - [`fetch`](Provider::fetch), alone or in a batch, gives the whole value, byte for byte; the selection of fields is not its business.
/// - It does not retry: the scheduler does, for [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) alone, until the deadline.
/// - It can be dropped at any await point: no task and no request outlives it.
/// - No error's `Display` or `Debug` holds a value, a credential or a response's body.
pub trait Provider {
    /// Fetches what a locator names.
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>>;

    /// The locators among these that one request can ask for together, batch by batch. Those that are in no batch, or the only
    /// one in theirs, are asked for one by one.
    fn batches<'a>(&self, _: &[&'a Locator]) -> Vec<Vec<&'a Locator>> {
        Vec::new()
    }

    /// Fetches what the locators of a batch name: an answer for each, in their order. `None` is for one that the batch says
    /// nothing of: it is asked for by itself.
    fn fetch_batch<'a>(
        &'a self,
        locators: &'a [&'a Locator],
    ) -> BoxFuture<'a, Vec<Option<Result<Fetched, ProviderError>>>> {
        Box::pin(async { locators.iter().map(|_| None).collect() })
    }

    /// Asks the store for what [`policy`](Provider::policy) depends on, such as the mount of a locator, and remembers it.
    fn survey<'a>(&'a self, _: &'a Locator) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }

    /// As [`Configured::policy`], with what the surveys have found.
    fn policy(&self, _: &[&Locator]) -> Option<String> {
        None
    }

    /// Lets go of the store once the caller knows whether the secrets were delivered: gives back what would outlive the worker
    /// unused, such as a login's token. Best effort, and within the time that the caller gives.
    fn finish(&self, _: Ending) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// What the log says of it.
    fn summary(&self) -> Summary {
        Summary::default()
    }
}

/// Whether the secrets were delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was delivered.
    Kept,
    /// Nothing was delivered.
    NotKept,
}

/// What a provider has done.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many requests it has sent; nothing is said of a provider that sends none.
    pub requests: u64,
    /// What ends first of all that it gave, where anything does.
    pub expiry: Option<Expiry>,
}

/// When something that the app uses ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// What ends: "the lease of `database/creds/web`".
    pub what: String,
    /// How long from now.
    pub after: Duration,
}

/// A provider's answer.
#[non_exhaustive]
pub struct Fetched {
    /// What it gave.
    pub content: Content,
}

/// What a locator stood for.
pub enum Content {
    /// One secret: its whole value.
    Value(SecretValue),
    /// Several, each with its name: the answer to a locator that [is a list](Configured::is_list).
    List(Vec<Entry>),
}

/// One secret of a list.
pub struct Entry {
    /// Its name, which becomes its file's.
    pub name: String,
    /// Its value, or what to ask for to get it.
    pub found: Found,
}

/// What a list has of a secret.
pub enum Found {
    /// The whole value.
    Value(SecretValue),
    /// The locator to fetch it by. Where the store then says that it is not there, it is no member of the list.
    At(Locator),
    /// Nothing, and why: it is no member of the list.
    Nothing(ProviderError),
}

impl From<SecretValue> for Fetched {
    fn from(value: SecretValue) -> Self {
        Self { content: Content::Value(value) }
    }
}

impl From<Vec<Entry>> for Fetched {
    fn from(entries: Vec<Entry>) -> Self {
        Self { content: Content::List(entries) }
    }
}
