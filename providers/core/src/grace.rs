//! Refusals that may pass, and that a cloud's own tools therefore try again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::ErrorKind;

/// How long such a refusal counts as passing. The clouds' own tools try three times within some seconds.
pub const GRACE: Duration = Duration::from_secs(10);

/// Since when refusals have come that may pass.
#[derive(Default)]
pub struct Grace(Mutex<Option<SystemTime>>);

impl Grace {
    /// The kind of the refusal now: temporary, or, after [`GRACE`], a denial.
    pub fn kind(&self, now: SystemTime) -> ErrorKind {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.get_or_insert(now);
        match now.duration_since(since) {
            Ok(passed) if passed < GRACE => ErrorKind::Unavailable,
            _ => ErrorKind::Denied,
        }
    }

    /// Notes that the refusal has passed, so that a later one gets a grace of its own.
    pub fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_passes_for_ten_seconds_and_each_anew() {
        let (grace, start) = (Grace::default(), SystemTime::UNIX_EPOCH + GRACE);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((grace.kind(after(0)), grace.kind(after(9))), (ErrorKind::Unavailable, ErrorKind::Unavailable));
        assert_eq!((grace.kind(after(10)), grace.kind(after(11))), (ErrorKind::Denied, ErrorKind::Denied));
        // A clock that was set back gives no more time.
        assert_eq!(grace.kind(SystemTime::UNIX_EPOCH), ErrorKind::Denied);
        grace.over();
        assert_eq!(grace.kind(after(99)), ErrorKind::Unavailable);
    }
}
