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

    /// The sockets that the instance needs to connect to its store. The worker's sandbox allows these sockets and no others.
    fn sockets(&self) -> Sockets {
        Sockets::default()
    }

    /// Whether a locator names several secrets, such as `kv/web/*`.
    fn is_list(&self, _: &Locator) -> bool {
        false
    }

    /// Whether the store may create the secret of this locator at the request, with a lease or an expiry of its own. The answer's
    /// [`Term`] says whether it did.
    fn may_issue(&self, _: &Locator) -> bool {
        false
    }

    /// Whether the secret of a locator may expire.
    fn may_end(&self, _: &Locator) -> bool {
        false
    }

    /// Whether credentials that the store issued are revoked when handfast ends, if handfast runs on after the start.
    fn revokes_on_exit(&self) -> bool {
        false
    }

    /// The local file that a locator names, which handfast watches for changes; `None` for a secret in a store.
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

    /// The other provider whose identity the instance logs in with, if any. The login fails if that provider is not compiled in.
    fn identity_of(&self) -> Option<&'static str> {
        None
    }

    /// A warning that handfast logs at each start, if any.
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
/// The conformance suite (`testkit`) checks this for every provider:
/// - A fetch, alone or in a batch, returns the whole value, byte for byte; it does not select fields.
/// - It does not retry: the scheduler retries, for [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) alone, until the
///   deadline.
/// - It can be dropped at any await point: no task and no request outlives it.
/// - No error's `Display` or `Debug` contains a value, a credential or a response's body.
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

    /// Requests the facts that [`policy`](Provider::policy) depends on, such as the mount of a locator, from the store, and
    /// stores them in the provider.
    fn survey<'a>(&'a self, _: &'a Locator) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }

    /// As [`Configured::policy`], with the facts from the surveys.
    fn policy(&self, _: &[&Locator]) -> Option<String> {
        None
    }

    /// Renews the newest lease of this locator by its original duration. An error other than
    /// [`Unavailable`](crate::ErrorKind::Unavailable) means that this lease cannot be renewed any more.
    fn renew<'a>(&'a self, _: &'a Locator) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        Box::pin(async { Err(ProviderError::new(ErrorKind::Malformed, "this store renews nothing")) })
    }

    /// Inspects, renews or replaces the login to the store. `None` if the provider has no login, or its login does not expire.
    fn upkeep(&self, _: Upkeep) -> BoxFuture<'_, Result<Option<Standing>, ProviderError>> {
        Box::pin(async { Ok(None) })
    }

    /// Ends the connection to the store, once the caller knows whether the secrets were delivered: revokes credentials that
    /// nobody will use any more, such as a login's token. It returns no error, and the caller sets a time limit.
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
    /// Everything was delivered and kept up to date, and the keeper ends.
    Over,
}

/// What to do with a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Read its lifetime.
    Inspect,
    /// Renew it by its original lifetime.
    Renew,
    /// Replace it by a new login, which reads the token files again.
    Replace,
}

/// The state of a login that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The login's number, which changes with each new login of the instance. The leases of a login end with it.
    pub number: u64,
    /// Its original lifetime.
    pub whole: Duration,
    /// Its remaining lifetime.
    pub grant: Grant,
    /// Whether a new login can replace it. A token in a variable cannot be replaced.
    pub is_replaceable: bool,
}

/// The time for which a store grants a lease or a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The remaining lifetime.
    pub life: Duration,
    /// Whether it can be renewed.
    pub renewable: bool,
}

/// A provider's report for the log and for `check --online`.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many requests the provider has sent. A provider without requests is not logged.
    pub requests: u64,
    /// The earliest expiry of the secrets that the provider has fetched, if any expires.
    pub expiry: Option<Expiry>,
    /// The way in which the provider logged in, if it chose among several: "machine", "workload-identity of the application
    /// `web`". It contains no credential.
    pub identity: Option<String>,
}

/// The expiry of something that the app uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The expiring thing: "the lease of `database/creds/web`".
    pub what: String,
    /// How long from now.
    pub after: Duration,
}

/// A provider's answer.
#[non_exhaustive]
pub struct Fetched {
    /// The content of the answer.
    pub content: Content,
    /// How long the content is valid.
    pub term: Term,
}

impl Fetched {
    /// Sets how long the content is valid.
    pub fn holding(self, term: Term) -> Self {
        Self { term, ..self }
    }
}

/// How long an answer is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Term {
    /// Until a user of the store changes the secret.
    #[default]
    Open,
    /// Until the store itself changes the secret, after this time.
    Rotates(Duration),
    /// Until the secret's expiration date, in this time, unless a user changes the secret before. Another request returns the
    /// same secret.
    Until(Duration),
    /// Until it expires after this time, as a certificate does. It was issued for this request alone: another request returns
    /// another secret.
    Ends(Duration),
    /// Until its lease ends. It was issued for this request alone: another request returns another secret.
    Leased {
        /// The duration of the lease.
        grant: Grant,
        /// The login that received the lease. The lease ends with this login: [`Standing::number`].
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
    /// The locator to fetch it by. If the store then does not find it, it is no member of the list.
    At(Locator),
    /// No value, for this reason. It is no member of the list.
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
