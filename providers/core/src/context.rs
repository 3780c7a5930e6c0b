//! What a provider may know of the outside, so that a test can give it any outside.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::files::Files;
use crate::future::BoxFuture;
use crate::identity::Identities;
use crate::secret::SecretValue;

/// A provider's view of the outside.
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
    /// Whether more than one secret is wanted, so that requests for them can be under way at once.
    pub several: bool,
}

/// Environment variables. An empty one, and one of white space alone, counts as unset.
pub trait Environment {
    /// A variable that holds no credential, without the white space around its value.
    fn variable(&self, name: &str) -> Option<&str>;

    /// Whether a variable is set and not UTF-8. [`variable`](Self::variable) has no value for it, but a caller must not take it
    /// for unset.
    fn is_unreadable(&self, _: &str) -> bool {
        false
    }

    /// A bootstrap credential.
    fn credential(&self, name: &str) -> Option<&SecretValue>;
}

/// Time. It can be shared between threads, because that is how SDKs and the HTTP client take what they keep.
pub trait Clock: Send + Sync {
    /// The time of day, for signatures and expiry dates. Deadlines are not a provider's business.
    fn now(&self) -> SystemTime;

    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
}
