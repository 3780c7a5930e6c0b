//! The terminal: who stands in front of it gets its input and its ^C.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

use crate::error::reason;
use crate::sys::fs::duplicate_from;

/// The controlling terminal, where stdin is that. Taken back when dropped, for the program that has started handfast.
pub struct Terminal {
    descriptor: OwnedFd,
    ours: Pid,
    apps: Pid,
}

impl Terminal {
    /// `app` is the number of the app's process group.
    pub fn of_stdin(app: Pid) -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if tcgetpgrp(&stdin).is_err() {
            return Ok(None);
        }
        Ok(Some(Self { descriptor: duplicate_from(stdin.as_fd(), 3)?, ours: getpgrp(), apps: app }))
    }

    /// Puts the app in front, where we are. SIGTTOU is blocked, so this stops nobody.
    pub fn hand_over(&self) -> bool {
        self.change(self.ours, self.apps)
    }

    /// Puts us in front, where the app is.
    pub fn take_back(&self) -> bool {
        self.change(self.apps, self.ours)
    }

    /// Another app has come in place of the one before.
    pub fn replace_app(&mut self, app: Pid) {
        self.take_back();
        self.apps = app;
    }

    /// The descriptor's number.
    pub fn number(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    fn change(&self, from: Pid, to: Pid) -> bool {
        if tcgetpgrp(&self.descriptor) != Ok(from) {
            return false;
        }
        match tcsetpgrp(&self.descriptor, to) {
            Ok(()) => true,
            // A terminal that has hung up, or a process group outside of this pid namespace.
            Err(error) => {
                tracing::debug!(target: "handfast", "the terminal stays with group {from}: {}", reason(error));
                false
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.take_back();
    }
}
