//! Waits before it sends credentials again that Vault has refused. After five refusals, Vault locks a role or user out for
//! everybody. It resets its count after a quarter of an hour without a refusal
//! (developer.hashicorp.com/vault/docs/concepts/user-lockout).

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use handfast_core::{Clock, ErrorKind, ProviderError};

use super::method::Login;

/// The pause after the first refusal. Each further pause is twice as long.
const FIRST: Duration = Duration::from_secs(5 * 60);

/// The longest pause, after which Vault has reset its count.
const LONGEST: Duration = Duration::from_secs(16 * 60);

/// The last refusal.
#[derive(Default)]
pub struct Refusals {
    key: RandomState,
    last: RefCell<Option<Refusal>>,
}

struct Refusal {
    /// A digest of the credentials, with a key that only this process has.
    digest: u64,
    at: SystemTime,
    /// The number of refusals in a row.
    count: u32,
    error: ProviderError,
}

impl Refusals {
    /// Logs in with these credentials, unless they were refused a short time ago: then returns the same error.
    pub async fn unless_refused(
        &self,
        credentials: &[&str],
        clock: &dyn Clock,
        login: impl Future<Output = Result<Login, ProviderError>>,
    ) -> Result<Login, ProviderError> {
        let digest = self.key.hash_one(credentials);
        let mut count = 1;
        if let Some(last) = self.last.borrow().as_ref().filter(|last| last.digest == digest) {
            // A clock that was set back does not prolong the pause.
            if clock.now().duration_since(last.at).is_ok_and(|since| since < last.pause()) {
                return Err(last.error.once_more());
            }
            count = last.count.saturating_add(1);
        }
        let login = login.await;
        match &login {
            Ok(_) => *self.last.borrow_mut() = None,
            Err(error) if error.kind == ErrorKind::Denied => {
                *self.last.borrow_mut() = Some(Refusal { digest, at: clock.now(), count, error: error.once_more() });
            }
            Err(_) => {}
        }
        login
    }
}

impl Refusal {
    fn pause(&self) -> Duration {
        FIRST.saturating_mul(1 << (self.count - 1).min(8)).min(LONGEST)
    }
}
