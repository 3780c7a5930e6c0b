//! The app, as its supervisor sees it: a child, which is the leader of a process group of its own.
#![forbid(unsafe_code)]

use std::{fs, io};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, setpgid};

use crate::error::reason;
use crate::sys::jobs;
use crate::sys::signals::{self, Incoming};

/// The kernel's first real-time signal: from here on a signal counts as often as it is sent.
const FIRST_REAL_TIME: u8 = 32;

/// The recipient of the signals that are sent to the supervisor.
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

    /// Whether a real-time signal is held back until the app's queue has room. No later real-time signal may overtake it.
    pub fn has_held_back_signal(&self) -> bool {
        self.waiting.is_some()
    }

    /// Tries once more to pass on the signal that is held back.
    pub fn retry_held_back_signal(&mut self) {
        if let Some(arrived) = self.waiting.take() {
            self.pass_on(arrived);
        }
    }

    /// Passes a signal on. A real-time signal for which the app's queue has no room is held back.
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
            passed => warn_unless_sent(passed, &signals::name(arrived.number)),
        }
    }

    /// Sends a signal of the supervisor's own to the app.
    pub fn send(&self, signal: u8) {
        warn_unless_sent(jobs::send(self.pid.as_raw(), signal), &signals::name(signal));
    }

    /// Sends a signal of the supervisor's own to the app, or to its process group if the group gets signals.
    pub fn send_to_recipient(&self, signal: u8) {
        let target = if self.recipient == Recipient::Group { -self.pid.as_raw() } else { self.pid.as_raw() };
        warn_unless_sent(jobs::send(target, signal), &signals::name(signal));
    }

    /// Kills the whole process group.
    pub fn kill(&self) {
        self.send_to_group(Signal::SIGKILL);
    }

    /// Whether a process of its group is left.
    pub fn has_group(&self) -> bool {
        jobs::send(-self.pid.as_raw(), 0).is_ok()
    }

    /// Whether the app survives this signal: it handles, ignores or awaits the signal, or the default action ends no process. Fails if
    /// /proc hides the processes of other uids (`hidepid`) or is not that of this pid namespace.
    pub fn survives(&self, signal: u8) -> io::Result<bool> {
        const HARMLESS: [Signal; 7] = [
            Signal::SIGCHLD,
            Signal::SIGCONT,
            Signal::SIGURG,
            Signal::SIGWINCH,
            Signal::SIGTSTP,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
        ];
        if HARMLESS.iter().any(|harmless| *harmless as u8 == signal) {
            return Ok(true);
        }
        // Otherwise the app's number there is that of another process.
        if fs::read_link("/proc/self")?.as_os_str() != getpid().to_string().as_str() {
            return Err(io::Error::other("it is the `/proc` of another pid namespace"));
        }
        let status = fs::read(format!("/proc/{}/status", self.pid))?;
        let found = Dispositions::read(&status).ok_or(io::ErrorKind::InvalidData)?;
        let has = |set: u64, number: u8| set & 1 << (number - 1) != 0;
        // Before exec, the child still blocks every signal, also those of the C library, which no app blocks.
        let awaits = has(found.blocked, signal) && !has(found.blocked, FIRST_REAL_TIME);
        Ok(has(found.ignored | found.caught, signal) || awaits)
    }

    /// Stops the whole process group, after the app alone was stopped.
    pub fn stop(&self) {
        self.send_to_group(Signal::SIGSTOP);
    }

    /// Continues the whole process group.
    pub fn go_on(&self) {
        self.send_to_group(Signal::SIGCONT);
    }

    /// Called when the app has ended: ends the rest of the process group, if the group gets signals.
    pub fn dismiss(&self) {
        if self.recipient == Recipient::Group {
            self.send_to_group(Signal::SIGTERM);
        }
    }

    fn send_to_group(&self, signal: Signal) {
        warn_unless_sent(jobs::send(-self.pid.as_raw(), signal as u8), signal.as_str());
    }
}

/// The signals that a process blocks, ignores and handles. A bit per signal: bit 0 is signal 1.
#[derive(Debug, PartialEq, Eq)]
struct Dispositions {
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl Dispositions {
    fn read(status: &[u8]) -> Option<Self> {
        let set = |name: &[u8]| {
            let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
            u64::from_str_radix(std::str::from_utf8(line).ok()?.trim(), 16).ok()
        };
        Some(Self { blocked: set(b"SigBlk:")?, ignored: set(b"SigIgn:")?, caught: set(b"SigCgt:")? })
    }
}

/// Warns if a signal could not be sent, unless the recipient has ended.
fn warn_unless_sent(sent: io::Result<()>, signal: &str) {
    match sent {
        Err(error) if error.raw_os_error() != Some(Errno::ESRCH as i32) => {
            tracing::warn!(target: "handfast", "cannot pass {signal} on to the app: {}", reason(error));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_does_with_signals_is_read_whatever_its_name_is() {
        let status =
            b"Name:\tSigCgt:\xff\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t8000000000000002\n";
        let expected = Dispositions { blocked: 1, ignored: 0x1000, caught: 1 << 63 | 2 };
        assert_eq!(Dispositions::read(status), Some(expected));
        assert_eq!(Dispositions::read(b"SigBlk:\tx\n"), None);
    }
}
