//! The app, as its supervisor sees it: a child, which is the leader of a process group of its own.
#![forbid(unsafe_code)]

use std::{fs, io};

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
    pub fn has_held_back_signal(&self) -> bool {
        self.waiting.is_some()
    }

    /// Tries once more to pass on the signal for which there was no room.
    pub fn retry_held_back_signal(&mut self) {
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
            passed => warn_unless_sent(passed, &signals::name(arrived.number)),
        }
    }

    /// Sends the app itself a signal of our own.
    pub fn send(&self, signal: u8) {
        warn_unless_sent(jobs::send(self.pid.as_raw(), signal), &signals::name(signal));
    }

    /// Sends those who get signals one of our own.
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

    /// Whether it goes on after this signal: it handles, ignores or awaits it, or nothing would come of it.
    pub fn survives(&self, signal: u8) -> bool {
        const HARMLESS: [Signal; 7] = [
            Signal::SIGCHLD,
            Signal::SIGCONT,
            Signal::SIGURG,
            Signal::SIGWINCH,
            Signal::SIGTSTP,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
        ];
        let path = format!("/proc/{}/status", self.pid);
        let has = |set: u64, number: u8| set & 1 << (number - 1) != 0;
        HARMLESS.iter().any(|harmless| *harmless as u8 == signal)
            || fs::read(path).ok().and_then(|status| Dispositions::read(&status)).is_some_and(|found| {
                // Until its exec it is our own child, which has everything blocked, the C library's own signals too: no app has.
                let awaits = has(found.blocked, signal) && !has(found.blocked, FIRST_REAL_TIME);
                has(found.ignored | found.caught, signal) || awaits
            })
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
        warn_unless_sent(jobs::send(-self.pid.as_raw(), signal as u8), signal.as_str());
    }
}

/// What a process does with signals, a bit each: bit 0 is signal 1.
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

/// Says that a signal could not be sent, unless nobody is left who could get it.
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
