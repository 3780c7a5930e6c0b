//! Refusals that pass: what a cloud's own tools try again, and what may as well stay.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::ErrorKind;

/// How long such a refusal counts as passing. The clouds' own tools try three times within some seconds.
pub const GRACE: Duration = Duration::from_secs(10);

/// Since when a refusal has come that may pass.
#[derive(Default)]
pub struct Grace(Mutex<Option<SystemTime>>);

impl Grace {
    /// What kind of failure the refusal is now: one that passes, or, after [`GRACE`], the denial that it says it is.
    pub fn kind(&self, now: SystemTime) -> ErrorKind {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.get_or_insert(now);
        match now.duration_since(since) {
            Ok(passed) if passed < GRACE => ErrorKind::Unavailable,
            _ => ErrorKind::Denied,
        }
    }

    /// It has passed: one that comes later is another.
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
