//! Credentials that Vault has refused, which are not shown again soon. After five refusals it locks a role or a user out for everybody,
//! and forgets them after a quarter of an hour without another (developer.hashicorp.com/vault/docs/concepts/user-lockout).

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use handfast_core::{Clock, ErrorKind, ProviderError};

use super::method::Login;

/// The pause after the first refusal; the next is twice as long.
const FIRST: Duration = Duration::from_secs(5 * 60);

/// After which Vault has forgotten.
const LONGEST: Duration = Duration::from_secs(16 * 60);

/// The last refusal.
#[derive(Default)]
pub struct Refusals {
    key: RandomState,
    last: RefCell<Option<Refusal>>,
}

struct Refusal {
    /// A digest of what was shown, with a key of this process.
    shown: u64,
    at: SystemTime,
    /// How often in a row.
    count: u32,
    error: ProviderError,
}

impl Refusals {
    /// Logs in with these credentials, unless they were refused not long ago: then it fails as before.
    pub async fn unless_refused(
        &self,
        shown: &[&str],
        clock: &dyn Clock,
        login: impl Future<Output = Result<Login, ProviderError>>,
    ) -> Result<Login, ProviderError> {
        let shown = self.key.hash_one(shown);
        let mut count = 1;
        if let Some(last) = self.last.borrow().as_ref().filter(|last| last.shown == shown) {
            // A clock that was set back stops nobody.
            if clock.now().duration_since(last.at).is_ok_and(|since| since < last.pause()) {
                return Err(last.error.once_more());
            }
            count = last.count.saturating_add(1);
        }
        let login = login.await;
        match &login {
            Ok(_) => *self.last.borrow_mut() = None,
            Err(error) if error.kind == ErrorKind::Denied => {
                *self.last.borrow_mut() = Some(Refusal { shown, at: clock.now(), count, error: error.once_more() });
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
