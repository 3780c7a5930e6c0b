//! The worker's process: forks it, and ensures that it ends. Every wait here is bounded.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

use super::log::Log;
use crate::error::{Class, Error, Phase, Result, reason};
use crate::sys;

/// How long to wait for the end of a killed worker. The kernel needs microseconds, unless the worker waits for a file system or a
/// device that does not answer: no signal ends such a wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often to ask for the worker's end without a pause, and the pause between later tries.
const AT_ONCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// What the privileged process gives to the worker at the fork.
pub struct Ends {
    /// The worker's end of the socketpair.
    pub socket: UnixStream,
    /// The write end of the log's pipe.
    pub log: OwnedFd,
    /// The privileged process' id.
    pub parent: Pid,
}

/// A worker. It is killed and reaped on every path, when dropped at the latest.
pub struct Worker {
    pid: Pid,
    end: Option<End>,
    /// The worker's log.
    pub log: Log,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ended and was reaped.
    Reaped(WaitStatus),
    /// It was killed and has not ended in time. The kernel ends it later.
    Stuck,
}

/// The two sides of a fork.
pub enum Forked {
    /// This is the worker.
    Worker(Ends),
    /// This is the privileged process, with its end of the socketpair.
    Privileged(Worker, UnixStream),
}

/// Forks a worker. The two processes share only the socketpair and the pipe of the log.
pub fn fork() -> Result<Forked> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| system("make a socketpair for the worker", error))?;
    let (log, log_end) = Log::new().map_err(|error| system("make a pipe for the worker's log", error))?;
    let parent = nix::unistd::getpid();
    match sys::process::fork().map_err(cannot_fork)? {
        ForkResult::Child => Ok(Forked::Worker(Ends { socket: theirs, log: log_end, parent })),
        ForkResult::Parent { child } => Ok(Forked::Privileged(Worker { pid: child, end: None, log }, ours)),
    }
}

impl Worker {
    /// The worker's process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Somebody who waits for all children has reaped it: with this exit code, or 128+n where signal n has killed it. No worker of
    /// ours exits with more than 128.
    pub fn was_reaped(&mut self, code: u8) {
        let signal = code.checked_sub(128).and_then(|number| Signal::try_from(i32::from(number)).ok());
        let status = match signal {
            Some(signal) => WaitStatus::Signaled(self.pid, signal, false),
            None => WaitStatus::Exited(self.pid, code.into()),
        };
        self.end.get_or_insert(End::Reaped(status));
    }

    /// Waits for the end of a worker that has closed its socket after its last frame. Fails unless the worker succeeded.
    pub fn finish(&mut self) -> Result<()> {
        match self.end() {
            End::Reaped(WaitStatus::Exited(_, 0)) => Ok(()),
            end => Err(ended(end)),
        }
    }

    /// Kills and reaps the worker, and returns how it ended. An honest worker closes its socket by exiting, so the signal comes
    /// too late to change its exit status. A hostile worker may close its socket and live on.
    pub fn end(&mut self) -> End {
        if let Some(end) = self.end {
            return end;
        }
        if let Err(error) = kill(self.pid, Signal::SIGKILL) {
            handfast_core::debug!("the worker has ended by itself: {}", reason(error));
        }
        let end = self.reap();
        self.log.copy();
        *self.end.insert(end)
    }

    fn reap(&self) -> End {
        let patience = Instant::now() + PATIENCE;
        for tries in 0_u32.. {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if Instant::now() > patience => break,
                // The worker is about to end: a sleep would take longer.
                Ok(WaitStatus::StillAlive) if tries < AT_ONCE => std::thread::yield_now(),
                Ok(WaitStatus::StillAlive) => std::thread::sleep(PAUSE),
                Ok(status) => return End::Reaped(status),
                Err(Errno::EINTR) => {}
                // Something else reaped it: there is nothing left to wait for.
                Err(_) => return End::Reaped(WaitStatus::Exited(self.pid, 0)),
            }
        }
        End::Stuck
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// The error for a worker that ended before it was done.
pub fn ended(end: End) -> Error {
    let fail = |class, message: String| Error::new(Phase::Fetch, class, message);
    match end {
        End::Reaped(WaitStatus::Exited(_, code)) if code == i32::from(Class::Isolation.exit_code()) => {
            fail(Class::Isolation, "the worker could not give up its privileges".into())
                .hint("a seccomp filter that denies capset or prctl does this")
        }
        End::Reaped(WaitStatus::Exited(_, code)) if code == i32::from(Class::Os.exit_code()) => {
            fail(Class::Os, "the worker had not enough memory or descriptors".into())
        }
        End::Reaped(WaitStatus::Exited(_, code)) => {
            fail(Class::Internal, format!("the worker ended early, with exit code {code}"))
        }
        End::Reaped(WaitStatus::Signaled(_, signal, _)) => {
            fail(Class::Internal, format!("the worker was killed by {signal}"))
        }
        End::Reaped(_) => fail(Class::Internal, "the worker ended early".into()),
        End::Stuck => fail(
            Class::Unavailable,
            "the worker cannot be ended: it waits in the kernel for a file system or a device that does not answer"
                .into(),
        )
        .hint("look at the files that it reads: a network or FUSE mount whose server is gone does this"),
    }
}

fn cannot_fork(error: io::Error) -> Error {
    let is_proc_missing = error.kind() == ErrorKind::NotFound;
    let failed = Phase::Fetch.cannot_fork("fork the worker", error);
    if is_proc_missing { failed.hint("mount procfs on /proc: isolation is verified there") } else { failed }
}

/// The error for a system call that failed.
pub fn system(what: &str, error: impl Into<io::Error>) -> Error {
    Phase::Fetch.cannot(what, error)
}

/// A worker that has already ended with this status.
#[cfg(test)]
pub fn gone(status: WaitStatus) -> Worker {
    let (log, _) = Log::new().expect("a pipe");
    Worker { pid: Pid::from_raw(i32::MAX), end: Some(End::Reaped(status)), log }
}
