//! The interface of a provider: a [`Definition`] makes a [`Configured`] instance from settings, and the instance connects to its
//! store and becomes a [`Provider`].

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::complaint::Complaint;
use crate::context::Context;
use crate::error::{ErrorKind, ProviderError};
use crate::future::BoxFuture;
use crate::identity::Identity;
use crate::keys::Key;
use crate::problem::Problems;
use crate::reference::Locator;
use crate::secret::SecretValue;
use crate::settings::Settings;

/// The definition of a provider. Each provider crate exports it as `DEFINITION`.
pub struct Definition {
    /// The provider's name: `type` in `[providers.NAME]`, and the first part of a reference to an instance without settings.
    pub name: &'static str,
    /// Its own keys in `[providers.NAME]`.
    pub keys: &'static [Key],
    /// The keys that the queries of its references take, in addition to `decode`.
    pub parameters: &'static [&'static str],
    /// Whether `params` in `[secrets.NAME]` turns the request for a reference into a write.
    pub writes: bool,
    /// The variables with its bootstrap credentials, which the app never inherits.
    pub bootstrap: &'static [&'static str],
    /// Makes the identity that the provider can prove to other providers' stores, if it has one.
    pub identity: Option<fn(Context) -> Rc<dyn Identity>>,
    /// Reads the settings, whose keys and types are already checked. Runs before the fork: it opens nothing.
    pub configure: fn(Settings<'_>, &mut Problems) -> Box<dyn Configured>,
}

/// A provider instance that has its settings, and has not opened a file or a connection yet.
pub trait Configured {
    /// Problems outside the instance's own settings, such as a missing variable. Called once, and only if a reference names the
    /// instance, so that a configuration can be checked where the variables of unused stores are not set.
    fn missing(&self) -> Vec<Complaint> {
        Vec::new()
    }

    /// Whether a locator is valid for this instance.
    fn check(&self, locator: &Locator) -> Result<(), Complaint>;

    /// The sockets that the instance needs to talk to its store. The worker's sandbox allows these sockets and no others.
    fn sockets(&self) -> Sockets {
        Sockets::default()
    }

    /// Whether a locator names several secrets, such as `kv/web/*`.
    fn is_list(&self, _: &Locator) -> bool {
        false
    }

    /// Whether the store may issue the secret of this locator, with a lease or an end of its own. The answer's [`Term`] says whether
    /// it did.
    fn may_issue(&self, _: &Locator) -> bool {
        false
    }

    /// Whether the secret of a locator may have an end, after which it is not to be used.
    fn may_end(&self, _: &Locator) -> bool {
        false
    }

    /// Whether issued credentials are revoked at the end of a process that lives on.
    fn revokes_on_exit(&self) -> bool {
        false
    }

    /// The local file that a locator names, whose changes are noticed at once; `None` for a secret in a store.
    fn file(&self, _: &Locator) -> Option<PathBuf> {
        None
    }

    /// How often a temporarily failing request is tried again; `None` means until the deadline.
    fn max_retries(&self) -> Option<u32> {
        None
    }

    /// The shortest time between two reads of a secret.
    fn least_refresh(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// The other provider with whose identity the instance logs in, if any. The login is impossible if that provider is not
    /// compiled in.
    fn identity_of(&self) -> Option<&'static str> {
        None
    }

    /// A warning that a user gets at each start, if any.
    fn warning(&self) -> Option<String> {
        None
    }

    /// The least-privilege policy for these locators, in the store's own language, made from the settings alone; `None` if the
    /// store has no policies. The text is the same each time.
    fn policy(&self, _: &[&Locator]) -> Option<String> {
        None
    }

    /// Makes the client. Called in the worker, once, and only if the instance is in use.
    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError>;
}

/// The kinds of sockets that a provider needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Internet sockets, to addresses that may be host names.
    pub internet: bool,
    /// Unix sockets with a path.
    pub unix: bool,
}

impl Sockets {
    /// The sockets for a store on the network.
    pub const INTERNET: Self = Self { internet: true, unix: false };

    /// Whether any socket is needed.
    pub fn any(self) -> bool {
        self.internet || self.unix
    }
}

/// A connection to a store.
///
/// # Behaviour
/// The conformance suite (`testkit`) holds every provider to this:
/// - [`fetch`](Provider::fetch), alone or in a batch, gives the whole value, byte for byte; it does not select fields.
/// - It does not retry: the scheduler retries, for [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) alone, until the
///   deadline.
/// - It can be dropped at any await point: no task and no request outlives it.
/// - No error's `Display` or `Debug` holds a value, a credential or a response's body.
pub trait Provider {
    /// Fetches the secret or the list that a locator names.
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>>;

    /// Groups the locators into batches, each of which one request can fetch. A locator that is in no batch, or alone in its
    /// batch, is fetched by itself.
    fn batches<'a>(&self, _: &[&'a Locator]) -> Vec<Vec<&'a Locator>> {
        Vec::new()
    }

    /// Fetches a batch of locators: one answer for each, in their order. A locator with the answer `None` is then fetched by
    /// itself.
    fn fetch_batch<'a>(
        &'a self,
        locators: &'a [&'a Locator],
    ) -> BoxFuture<'a, Vec<Option<Result<Fetched, ProviderError>>>> {
        Box::pin(async { locators.iter().map(|_| None).collect() })
    }

    /// Asks the store for the facts that [`policy`](Provider::policy) depends on, such as the mount of a locator, and remembers
    /// them.
    fn survey<'a>(&'a self, _: &'a Locator) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }

    /// As [`Configured::policy`], with the facts from the surveys.
    fn policy(&self, _: &[&Locator]) -> Option<String> {
        None
    }

    /// Renews the newest lease of this locator, for as long as it was issued for. An error that is not
    /// [`Unavailable`](crate::ErrorKind::Unavailable) says that this lease is never renewed.
    fn renew<'a>(&'a self, _: &'a Locator) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        Box::pin(async { Err(ProviderError::new(ErrorKind::Malformed, "this store renews nothing")) })
    }

    /// Takes care of the login to the store. `None` for a provider without one that ends.
    fn upkeep(&self, _: Upkeep) -> BoxFuture<'_, Result<Option<Standing>, ProviderError>> {
        Box::pin(async { Ok(None) })
    }

    /// Ends the connection to the store, once the caller knows whether the secrets were delivered: revokes credentials that would outlive
    /// the worker unused, such as a login's token. Best effort, within the caller's time limit.
    fn finish(&self, _: Ending) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// A summary for the log.
    fn summary(&self) -> Summary {
        Summary::default()
    }
}

/// Whether the secrets were delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was delivered.
    Delivered,
    /// Nothing was delivered.
    NotDelivered,
    /// Everything was delivered and kept fresh, and the keeper ends.
    Over,
}

/// The upkeep of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Its lifetime is read.
    Inspect,
    /// It is renewed, for as long as it was given for.
    Renew,
    /// It is replaced by a new login, for which token files are read again.
    Replace,
}

/// The state of a login that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which login of the instance it is: the leases of a login end with it.
    pub number: u64,
    /// How long it was given for.
    pub whole: Duration,
    /// How long it lives from now.
    pub grant: Grant,
    /// Whether it can be replaced. A token that the user gave cannot.
    pub is_replaceable: bool,
}

/// A store's grant for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How long it lives from now.
    pub life: Duration,
    /// Whether it can be renewed.
    pub renewable: bool,
}

/// A provider's report for the log and for `check --online`.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many requests the provider has sent. A provider without requests is not logged.
    pub requests: u64,
    /// The earliest expiry of the secrets that the provider gave, if any expires.
    pub expiry: Option<Expiry>,
    /// How the provider logged in, if it chose among several ways: "machine", "workload-identity of the application `web`". No
    /// credential stands in it.
    pub identity: Option<String>,
}

/// The expiry of something that the app uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// What expires: "the lease of `database/creds/web`".
    pub what: String,
    /// How long from now.
    pub after: Duration,
}

/// A provider's answer.
#[non_exhaustive]
pub struct Fetched {
    /// The content of the answer.
    pub content: Content,
    /// How long it holds.
    pub term: Term,
}

impl Fetched {
    /// The same, for a time.
    pub fn holding(self, term: Term) -> Self {
        Self { term, ..self }
    }
}

/// How long an answer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Term {
    /// Until a user of the store changes the secret.
    #[default]
    Open,
    /// Until the store itself changes the secret, after this time.
    Rotates(Duration),
    /// This long, as a secret with an expiration date does, unless a user changes it before: another request returns the same secret.
    Until(Duration),
    /// This long, as a certificate does. It was issued for this request alone: another request issues another one.
    Ends(Duration),
    /// As long as its lease. It was issued for this request alone: another request issues another one.
    Leased {
        /// How long it lives.
        grant: Grant,
        /// The login that it was issued for, and ends with: [`Standing::number`].
        login: u64,
    },
}

/// The content that a locator names.
pub enum Content {
    /// One secret: its whole value.
    Value(SecretValue),
    /// Several secrets, each with its name: the answer to a locator that [is a list](Configured::is_list).
    List(Vec<Entry>),
}

/// One secret of a list.
pub struct Entry {
    /// Its name, which becomes the name of its file.
    pub name: String,
    /// Its value, or the locator to fetch it by.
    pub found: Found,
}

/// A secret in a list: its value, its locator, or why it has neither.
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
        Self { content: Content::Value(value), term: Term::Open }
    }
}

impl From<Vec<Entry>> for Fetched {
    fn from(entries: Vec<Entry>) -> Self {
        Self { content: Content::List(entries), term: Term::Open }
    }
}
