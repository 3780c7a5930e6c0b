//! The app, as its supervisor sees it: a child, which is the leader of a process group of its own.
#![forbid(unsafe_code)]

use std::io;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, setpgid};

use crate::error::reason;
use crate::sys::jobs;
use crate::sys::signals::{self, Incoming};

/// The kernel's first real-time signal: from here on a signal counts as often as it is sent.
const FIRST_REAL_TIME: u8 = 32;

/// Who gets the signals that are sent to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The app.
    App,
    /// The app's process group.
    Group,
}

/// A running app.
pub struct App {
    /// Its process id, which is also the number of its process group.
    pub pid: Pid,
    recipient: Recipient,
    /// A real-time signal for which the app's queue had no room.
    waiting: Option<Incoming>,
}

impl App {
    /// Makes the child the leader of its process group.
    pub fn new(pid: Pid, recipient: Recipient) -> io::Result<Self> {
        setpgid(pid, pid)?;
        Ok(Self { pid, recipient, waiting: None })
    }

    /// Whether a real-time signal is still to be passed on. No other one may be before it.
    pub fn is_behind(&self) -> bool {
        self.waiting.is_some()
    }

    /// Tries once more to pass on the signal for which there was no room.
    pub fn catch_up(&mut self) {
        if let Some(arrived) = self.waiting.take() {
            self.pass_on(arrived);
        }
    }

    /// Passes a signal on. A real-time signal that the app's queue has no room for is kept.
    pub fn pass_on(&mut self, arrived: Incoming) {
        let process = self.pid.as_raw();
        let counts = arrived.number >= FIRST_REAL_TIME || arrived.value.is_some();
        let passed = match self.recipient {
            Recipient::Group => jobs::send(-process, arrived.number),
            Recipient::App if counts => jobs::queue(process, arrived),
            Recipient::App => jobs::send(process, arrived.number),
        };
        match passed {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.waiting = Some(arrived),
            passed => told(passed, &signals::name(arrived.number)),
        }
    }

    /// Stops the whole process group, where only the app has stopped.
    pub fn stop(&self) {
        self.send_to_group(Signal::SIGSTOP);
    }

    /// Lets the whole process group go on.
    pub fn go_on(&self) {
        self.send_to_group(Signal::SIGCONT);
    }

    /// Called when the app has ended: those who got its signals shall end too.
    pub fn dismiss(&self) {
        if self.recipient == Recipient::Group {
            self.send_to_group(Signal::SIGTERM);
        }
    }

    fn send_to_group(&self, signal: Signal) {
        told(jobs::send(-self.pid.as_raw(), signal as u8), signal.as_str());
    }
}

/// Says that a signal could not be sent, unless nobody is left who could get it.
fn told(sent: io::Result<()>, signal: &str) {
    match sent {
        Err(error) if error.raw_os_error() != Some(Errno::ESRCH as i32) => {
            tracing::warn!(target: "handfast", "cannot pass {signal} on to the app: {}", reason(error));
        }
        _ => {}
    }
}
