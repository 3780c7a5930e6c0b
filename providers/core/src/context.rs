//! The interface through which a provider reads its environment, files and clock, so that a test can replace them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::files::Files;
use crate::future::BoxFuture;
use crate::identity::Identities;
use crate::secret::SecretValue;

/// Everything outside a provider that it may use.
#[derive(Clone)]
pub struct Context {
    /// The environment variables.
    pub environment: Rc<dyn Environment>,
    /// The files.
    pub files: Rc<dyn Files>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The identities that other providers have.
    pub identities: Identities,
    /// Whether more than one secret is fetched, so that several requests may run at once.
    pub several: bool,
}

/// Environment variables. A variable that is empty or contains only white space counts as unset.
pub trait Environment {
    /// The value of a variable that contains no credential, without the white space around it.
    fn variable(&self, name: &str) -> Option<&str>;

    /// Whether a variable is set and not UTF-8. [`variable`](Self::variable) returns `None` for such a variable, but a caller
    /// must not treat it as unset.
    fn is_unreadable(&self, _: &str) -> bool {
        false
    }

    /// The value of a variable that contains a bootstrap credential.
    fn credential(&self, name: &str) -> Option<&SecretValue>;
}

/// Time. A clock can be shared between threads, because the HTTP client requires this of every value that it keeps.
pub trait Clock: Send + Sync {
    /// The time of day, for signatures and expiry dates. A provider does not handle deadlines.
    fn now(&self) -> SystemTime;

    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
}
