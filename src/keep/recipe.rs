//! Starts the app: the first time, and again after a change that asks for a restart.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::sys::stat::{Mode, umask};
use nix::unistd::dup2_stderr;

use crate::error::{Phase, Result};
use crate::launch::{self, Child, Prepared, Spawned};
use crate::lockdown::{self, CoreLimit, ProcessState};
use crate::plan::Isolation;
use crate::report;
use crate::sys::descriptors::close_on_exec;
use crate::sys::fs::duplicate_from;
use crate::sys::signals::Signals;

/// Everything that a child needs to become the app.
pub struct Recipe<'p> {
    /// What the app may do.
    pub isolation: &'p Isolation,
    /// The descriptors that it gets as they were found.
    pub inherited: &'p [RawFd],
    /// RLIMIT_CORE as found.
    pub core_limit: CoreLimit,
    /// The command.
    pub prepared: Prepared,
    /// The signals that end a start.
    pub ending: Signals,
    /// When handfast was started.
    pub started: Instant,
}

/// The stderr and the umask with which handfast was started. The supervisor changes its own, and keeps these for the next app. The
/// working directory is not changed: with its few capabilities, the supervisor might not be able to enter it again.
pub struct Surroundings {
    stderr: OwnedFd,
    mask: Mode,
}

impl Recipe<'_> {
    /// Forks the app. The child gets these descriptors of secrets, and waits until it may start.
    pub fn spawn(&self, secrets: &[RawFd], surroundings: Option<&Surroundings>) -> Result<Child> {
        match launch::spawn()? {
            Spawned::Supervisor(child) => Ok(child),
            // The supervisor's values are still on this child's stack, and must not be dropped here: `become_app` never returns.
            Spawned::App => self.become_app(secrets, surroundings),
        }
    }

    fn become_app(&self, secrets: &[RawFd], surroundings: Option<&Surroundings>) -> ! {
        let keep_open = [self.inherited, secrets].concat();
        let locked = surroundings.map_or(Ok(()), Surroundings::restore).and_then(|()| ProcessState::read());
        let locked = locked.and_then(|found| lockdown::lock(self.isolation, &keep_open, self.core_limit, found));
        let error = match locked {
            Ok(locked) => launch::exec(locked, &self.prepared, self.ending),
            Err(error) => error,
        };
        report::failure(&error, self.started.elapsed());
        crate::sys::exit::now(i32::from(error.class.exit_code()))
    }
}

impl Surroundings {
    /// Keeps both before the supervisor changes its own. Exec closes the descriptor.
    pub fn keep(inherited: &[RawFd]) -> Result<Self> {
        let stderr =
            duplicate_from(std::io::stderr().as_fd(), 3).map_err(|error| Phase::Launch.cannot("keep stderr", error))?;
        for descriptor in [0, 1].iter().chain(inherited) {
            close_on_exec(*descriptor)
                .map_err(|error| Phase::Launch.cannot(&format!("keep descriptor {descriptor}"), error))?;
        }
        let mask = umask(Mode::S_IRWXG | Mode::S_IRWXO);
        Ok(Self { stderr, mask })
    }

    /// The number of our own descriptor.
    pub fn number(&self) -> RawFd {
        self.stderr.as_raw_fd()
    }

    fn restore(&self) -> Result<()> {
        umask(self.mask);
        dup2_stderr(&self.stderr).map_err(|error| Phase::Launch.cannot("give the app its stderr", error))?;
        report::wait_again();
        Ok(())
    }
}
