//! Reads a file that may make the reader wait, such as a pipe: until its end, a signal, or the deadline.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Class, Error, Phase, Result};
use crate::sys::signals::{self, SignalFd, Signals};

/// The events that end the reading of a configuration early.
#[derive(Clone, Copy)]
pub struct Limits {
    /// The signals that do.
    pub signals: Signals,
    /// When the process started.
    pub started: Instant,
    /// How long after `started` the reading may last.
    pub deadline: Duration,
}

impl Limits {
    /// Ends where a signal has arrived that is held back. Asked between pieces of work.
    pub fn signal(&self) -> Result<()> {
        match signals::pending(self.signals) {
            Ok(None) => Ok(()),
            Ok(Some(signal)) => Err(ended_by(signal)),
            Err(error) => Err(Phase::Config.cannot("look for pending signals", error)),
        }
    }
}

/// A file whose bytes may be late.
pub struct Waiting {
    file: File,
    limits: Limits,
    watch: SignalFd,
    /// The signal or the deadline that ended the reading, if any did.
    pub ended: Option<Error>,
}

impl Waiting {
    /// A file that was opened non-blocking.
    pub fn new(file: File, limits: Limits) -> Result<Self> {
        let watch = SignalFd::new(limits.signals).map_err(|error| Phase::Config.cannot("watch for signals", error))?;
        Ok(Self { file, limits, watch, ended: None })
    }

    /// Waits until the file is readable. A named pipe without a writer reports its end at once, so the wait comes before the
    /// first read.
    fn until_readable(&self) -> Result<()> {
        loop {
            match self.watch.received() {
                Ok(None) => {}
                Ok(Some(number)) => return Err(ended_by(number)),
                Err(error) => return Err(Phase::Config.cannot("read pending signals", error)),
            }
            let left = self.limits.deadline.saturating_sub(self.limits.started.elapsed());
            if left.is_zero() {
                let limit = humantime::format_duration(self.limits.deadline);
                let message = format!("the configuration did not come to its end within the deadline, {limit}");
                let hint =
                    "whoever writes it must close it; `--deadline` and HANDFAST_DEADLINE say how long may be waited";
                return Err(Error::new(Phase::Config, Class::Unavailable, message).hint(hint));
            }
            let milliseconds = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
            let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
            let mut ready = [self.watch.as_fd(), self.file.as_fd()].map(|file| PollFd::new(file, PollFlags::POLLIN));
            match poll(&mut ready, timeout) {
                Ok(_) if ready[1].any().unwrap_or(true) && !ready[0].any().unwrap_or(false) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Phase::Config.cannot("wait for the configuration", error)),
            }
        }
    }
}

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Err(error) = self.until_readable() {
                self.ended = Some(error);
                return Err(io::Error::other("it was not waited for any longer"));
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

fn ended_by(signal: u8) -> Error {
    let message = format!("ended by {} before the start was complete", signals::name(signal));
    Error::new(Phase::Config, Class::Signal(signal), message)
}
