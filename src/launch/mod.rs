//! The stage `launch`: finds the command before anything is fetched, and executes it at the end. This stage never sees a secret.
#![forbid(unsafe_code)]

mod failure;
mod file_capabilities;
mod format;
mod handlers;
mod search;
mod spawn;
mod walk;

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Pid, getpid};

use failure::failure;
pub use search::{Program, resolve};
pub use spawn::{Child, Spawned, spawn};

use crate::error::{Class, Error, Phase, Result, reason};
use crate::lockdown::Locked;
use crate::sys::signals::{self, Signals};

/// The arguments of execve(2), made before the last privilege is dropped.
#[derive(Debug)]
pub struct Prepared {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// The process in which they were made.
    pid: Pid,
}

/// The variables that name the process for which others are meant: systemd's, for socket activation and its watchdog.
const PID_VARIABLES: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

/// The variables that name a process by the inode of its pidfd. Without them, systemd's protocol uses the process id alone.
const INODE_VARIABLES: [&str; 2] = ["LISTEN_PIDFDID=", "WATCHDOG_PIDFDID="];

impl Prepared {
    /// `command` is the command and its arguments as given. The app gets exactly the entries of `environment`.
    pub fn new(program: &Program, command: &[OsString], environment: &[OsString]) -> Result<Self> {
        let entry = |entry: &OsString| {
            CString::new(entry.as_bytes()).map_err(|_| {
                let name = entry.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
                nul_in(&format!("the variable `{}`", String::from_utf8_lossy(name)))
            })
        };
        Ok(Self {
            path: CString::new(program.path().as_os_str().as_bytes()).map_err(|_| nul_in("the command's path"))?,
            arguments: command
                .iter()
                .map(|argument| CString::new(argument.as_bytes()).map_err(|_| nul_in("an argument")))
                .collect::<Result<_>>()?,
            environment: environment.iter().map(entry).collect::<Result<_>>()?,
            pid: getpid(),
        })
    }

    /// The entries of the environment. In a child, those that name the process that they were made in name the child.
    fn environment(&self) -> Vec<CString> {
        let own = getpid();
        let mut entries = self.environment.clone();
        if own == self.pid {
            return entries;
        }
        for name in PID_VARIABLES {
            let [found, new] = [self.pid, own].map(|pid| CString::new(format!("{name}={pid}")).unwrap_or_default());
            entries.iter_mut().filter(|entry| **entry == found).for_each(|entry| *entry = new.clone());
        }
        entries.retain(|entry| !INODE_VARIABLES.iter().any(|name| entry.as_bytes().starts_with(name.as_bytes())));
        entries
    }
}

/// Becomes the app: restores the signal dispositions and the signal mask that handfast was started with, then executes the
/// command. Returns only if that fails.
///
/// `watched` are the signals that were held back until now; one that has arrived ends the start here, because exec as PID 1
/// would lose it.
pub fn exec(_locked: Locked, prepared: &Prepared, watched: Signals) -> Error {
    match signals::pending(watched) {
        Ok(None) => {}
        Ok(Some(signal)) => return interrupted(signal),
        Err(error) => return Phase::Launch.cannot("look for pending signals", error),
    }
    if let Err(error) = signals::restore() {
        return Phase::Launch.cannot("put the signals back as found", error);
    }
    match nix::unistd::execve(&prepared.path, &prepared.arguments, &prepared.environment()) {
        Err(error) => refused(Path::new(std::ffi::OsStr::from_bytes(prepared.path.as_bytes())), error),
    }
}

fn refused(path: &Path, error: Errno) -> Error {
    let class = match error {
        // What is missing is its interpreter or loader.
        Errno::ENOENT | Errno::ENOTDIR if path.exists() => Class::NotExecutable,
        Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG => Class::CommandNotFound,
        Errno::EAGAIN | Errno::ENOMEM | Errno::E2BIG | Errno::EMFILE | Errno::ENFILE => Class::Os,
        _ => Class::NotExecutable,
    };
    let failure = failure(class, format!("cannot execute `{}`: {}", path.display(), reason(error)));
    match error {
        Errno::ENOENT if path.exists() => {
            failure.hint("the file exists: its `#!` interpreter or its ELF loader does not, in this image")
        }
        Errno::ENOEXEC => failure.hint(
            "it is neither a program for this machine nor a script with a `#!` line; handfast never starts a shell",
        ),
        Errno::EACCES => {
            failure.hint("it or its `#!` interpreter may not be executed by the app's user, or lies on a noexec mount")
        }
        Errno::EPERM => {
            failure.hint("its file capabilities may lie outside the capability bounding set: see keep_capabilities")
        }
        Errno::EAGAIN => failure.hint("the app's user has more processes than RLIMIT_NPROC allows"),
        Errno::E2BIG => failure.hint("the arguments and the environment are too large"),
        Errno::ETXTBSY => failure.hint("the file is open for writing"),
        _ => failure,
    }
}

fn interrupted(signal: u8) -> Error {
    failure(Class::Signal(signal), format!("ended by {} before the start was complete", signals::name(signal)))
}

fn nul_in(what: &str) -> Error {
    failure(Class::Config, format!("cannot hand over {what}: it holds a NUL byte"))
}
