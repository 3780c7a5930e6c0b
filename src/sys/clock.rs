//! Time since the machine's start (CLOCK_BOOTTIME): it also passes while the machine sleeps, and cannot be set.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// The time since the machine's start.
pub fn boot_time() -> Duration {
    // Every Linux since 2.6.39 has this clock, so that the call cannot fail.
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// A descriptor that becomes readable at a moment of [`boot_time`].
pub struct Alarm(TimerFd);

impl Alarm {
    /// An alarm that is not set (non-blocking, closed by exec).
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self(TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?))
    }

    /// Sets the alarm to a moment, or takes it back. It stays readable from that moment on until it is set again.
    pub fn set(&self, at: Option<Duration>) -> io::Result<()> {
        match at {
            // A timer at 0 would be none.
            Some(at) => {
                let at = at.max(Duration::from_nanos(1)).into();
                Ok(self.0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
            }
            None => match self.0.unset() {
                Ok(()) | Err(Errno::EINVAL) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn an_alarm_comes_at_its_moment_and_not_before() {
        let alarm = Alarm::new().unwrap();
        let is_due =
            |wait: u16| poll(&mut [PollFd::new(alarm.as_fd(), PollFlags::POLLIN)], PollTimeout::from(wait)) == Ok(1);
        assert!(!is_due(0), "it is not set");
        let start = boot_time();
        alarm.set(Some(start + Duration::from_millis(50))).unwrap();
        assert!(!is_due(0) && is_due(5000) && boot_time() >= start + Duration::from_millis(50));
        alarm.set(None).unwrap();
        assert!(!is_due(0));
        alarm.set(Some(Duration::ZERO)).unwrap();
        assert!(is_due(5000), "what is past is due");
    }
}
