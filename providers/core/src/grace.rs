//! Refusals that may be temporary: for example, a cloud refuses a new federated credential until all its servers know it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::ErrorKind;

/// How long such a refusal counts as temporary. The clouds' own tools try three times within some seconds.
pub const GRACE: Duration = Duration::from_secs(10);

/// The time of the first of these refusals in a row.
#[derive(Default)]
pub struct Grace(Mutex<Option<SystemTime>>);

impl Grace {
    /// The kind of the refusal now: temporary, or, after [`GRACE`], a denial.
    pub fn kind(&self, now: SystemTime) -> ErrorKind {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.get_or_insert(now);
        match now.duration_since(since) {
            Ok(elapsed) if elapsed < GRACE => ErrorKind::Unavailable,
            _ => ErrorKind::Denied,
        }
    }

    /// Notes that a request was accepted, so that a later refusal counts as temporary again.
    pub fn reset(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_temporary_for_ten_seconds_and_again_after_an_accepted_request() {
        let (grace, start) = (Grace::default(), SystemTime::UNIX_EPOCH + GRACE);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((grace.kind(after(0)), grace.kind(after(9))), (ErrorKind::Unavailable, ErrorKind::Unavailable));
        assert_eq!((grace.kind(after(10)), grace.kind(after(11))), (ErrorKind::Denied, ErrorKind::Denied));
        // A clock that was set back does not extend the time.
        assert_eq!(grace.kind(SystemTime::UNIX_EPOCH), ErrorKind::Denied);
        grace.reset();
        assert_eq!(grace.kind(after(99)), ErrorKind::Unavailable);
    }
}
