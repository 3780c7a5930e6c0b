//! The controlling terminal: its foreground process group gets the input and ^C.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

use crate::error::reason;
use crate::sys::fs::duplicate_from;

/// The controlling terminal, if stdin is one. When dropped, it is taken back for the program that has started handfast.
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

    /// Makes the app's group the foreground group, if ours is. SIGTTOU is blocked, so the call stops no process.
    pub fn hand_over(&self) -> bool {
        self.change(self.ours, self.apps)
    }

    /// Makes our group the foreground group, if the app's is.
    pub fn take_back(&self) -> bool {
        self.change(self.apps, self.ours)
    }

    /// Hands it from the app's group to that of the next app, which is the app from now on. Not by way of our own group: that may be
    /// one outside of this pid namespace, which nobody here can put in front.
    pub fn replace_app(&mut self, app: Pid) {
        self.change(self.apps, app);
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
