//! The events that end the privileged process' wait for the worker: signals, the deadline, the worker's end.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cage::{Worker, ended, system};
use crate::error::{Class, Error, Phase, Result};
use crate::sys::signals;

/// How long a keeper's worker gets once both have been stopped for longer than it may take.
const AFTER_A_STOP: Duration = Duration::from_secs(2);

const HUP: u8 = libc::SIGHUP as u8;

/// Handles the signals and the children of a supervisor; a failure ends the wait. Returns the worker's exit code if it has reaped the
/// worker (128+n if signal n has killed it).
pub type HandleSignals<'s> = dyn Fn() -> Result<Option<u8>> + 's;

/// What interrupts the wait for a worker: the signals, and who handles them.
#[derive(Default)]
pub struct Interrupts<'s> {
    /// `None` where signals no longer matter, because the start has already failed.
    signals: Option<&'s signals::SignalFd>,
    /// For a process that HUP does not end: set when HUP has arrived.
    hung_up: Option<&'s Cell<bool>>,
    /// For a process that handles its signals by itself.
    handle_signals: Option<&'s HandleSignals<'s>>,
}

impl<'s> Interrupts<'s> {
    /// For a start: each of these signals ends it.
    pub fn of_start(signals: &'s signals::SignalFd) -> Self {
        Self { signals: Some(signals), ..Self::default() }
    }

    /// For a keeper: HUP does not end it, and is noted in `hung_up`.
    pub fn of_keeper(signals: &'s signals::SignalFd, hung_up: &'s Cell<bool>) -> Self {
        Self { signals: Some(signals), hung_up: Some(hung_up), handle_signals: None }
    }

    /// For a supervisor: `handle_signals` passes its signals on and reaps its children.
    pub fn of_supervisor(signals: &'s signals::SignalFd, handle_signals: &'s HandleSignals<'s>) -> Self {
        Self { signals: Some(signals), hung_up: None, handle_signals: Some(handle_signals) }
    }

    /// The descriptor that is readable when a signal or a child's end has come.
    pub fn descriptor(&self) -> Option<BorrowedFd<'s>> {
        self.signals.map(AsFd::as_fd)
    }

    /// Fails if a signal that ends the start is pending. Called between stages, so that no stage is left half done.
    pub fn check(&self, phase: Phase) -> Result<()> {
        if let Some(handle_signals) = self.handle_signals {
            return handle_signals().map(drop);
        }
        loop {
            match (self.signals.map_or(Ok(None), signals::SignalFd::received), self.hung_up) {
                (Ok(Some(HUP)), Some(hung_up)) => hung_up.set(true),
                (Ok(Some(number)), Some(_)) => return Err(signalled(number, Phase::Watch)),
                (Ok(Some(number)), None) => return Err(signalled(number, phase)),
                (Ok(None), _) => return Ok(()),
                (Err(error), _) => return Err(phase.cannot("read pending signals", error)),
            }
        }
    }
}

/// A wait for a worker, which ends at `backstop` at the latest.
pub struct WorkerWait<'w, 's> {
    interrupts: &'w Interrupts<'s>,
    worker: &'w mut Worker,
    backstop: Instant,
}

impl<'s> Interrupts<'s> {
    /// A wait for this worker, until `backstop`.
    pub fn with_worker<'w>(&'w self, worker: &'w mut Worker, backstop: Instant) -> WorkerWait<'w, 's> {
        WorkerWait { interrupts: self, worker, backstop }
    }
}

impl WorkerWait<'_, '_> {
    /// Waits until the worker has sent something, or has ended.
    pub fn until_readable(&mut self, socket: BorrowedFd<'_>) -> Result<()> {
        let mut was_late = false;
        loop {
            let mut left = self.backstop.saturating_duration_since(Instant::now());
            // A keeper is late because it was stopped, by ^Z for example, and its worker with it: the worker sends the rest only now.
            if left.is_zero() && self.interrupts.hung_up.is_some() && !std::mem::replace(&mut was_late, true) {
                left = AFTER_A_STOP;
            }
            let milliseconds = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
            let awaited = [Some(socket), self.interrupts.signals.map(AsFd::as_fd), self.worker.log.pipe()];
            let nothing = || PollFd::new(socket, PollFlags::empty());
            let mut awaited = awaited.map(|one| one.map_or_else(nothing, |one| PollFd::new(one, PollFlags::POLLIN)));
            match poll(&mut awaited, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(system("wait for the worker", error)),
            }
            let [socket_ready, signal_ready, log_ready] = awaited.map(|one| one.any().unwrap_or(true));
            if log_ready {
                self.worker.log.copy();
            }
            // The worker's end also makes this descriptor ready (SIGCHLD), which is no failure by itself.
            if signal_ready {
                self.interrupts.check(Phase::Fetch)?;
            }
            if socket_ready {
                return Ok(());
            }
            // Checked last: data that arrived while this process was stopped is in time.
            if left.is_zero() {
                let message = "the worker did not answer until the deadline";
                return Err(Error::new(Phase::Fetch, Class::Unavailable, message));
            }
        }
    }

    /// The error for a worker that has closed its socket before it was done.
    pub fn worker_ended(&mut self) -> Error {
        if let Some(Ok(Some(code))) = self.interrupts.handle_signals.map(|handle_signals| handle_signals()) {
            self.worker.was_reaped(code);
        }
        ended(self.worker.end())
    }
}

fn signalled(number: u8, phase: Phase) -> Error {
    let name = signals::name(number);
    let before = if phase == Phase::Watch { "" } else { " before the start was complete" };
    Error::new(phase, Class::Signal(number), format!("ended by {name}{before}"))
}
