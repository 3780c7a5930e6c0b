//! The sandbox of the worker: no capabilities, no way to get one, and a short list of system calls (`seccomp`). Landlock is a
//! second layer. A process enters its cage right after the fork, before it starts any thread.
#![forbid(unsafe_code)]

mod landlock;
mod log;
mod parts;
mod process;
mod processors;
mod profiles;
mod seccomp;

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout};

use crate::error::reason;
use crate::lockdown;
use crate::sys::{self, capabilities};
pub use parts::{Cage, missing, refuse_incomplete, report};
#[cfg(test)]
pub use process::gone;
pub use process::{End, Ends, Forked, Worker, ended, fork, system};
pub use processors::Processors;
pub use seccomp::Profile;

/// Sandboxes this process, and returns which of the best-effort parts are in force. All other parts must succeed. Only the
/// profile's descriptors and the log stay open; the log becomes stderr.
pub fn enter(parent: Pid, profile: Profile, log: OwnedFd) -> io::Result<Cage> {
    prctl::set_dumpable(false)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // If the parent died before the line above, the kernel sends no signal for its death.
    if nix::unistd::getppid() != parent {
        sys::exit::now(0);
    }
    dup2_stderr(&log)?;
    drop(log);
    crate::report::relay();
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    lockdown::close_inherited(&profile.keep_open).map_err(|error| io::Error::other(error.message))?;
    release_stdio()?;
    // The kernel empties the ambient set by itself when the permitted and the inheritable set are emptied.
    let none = capabilities::Sets { permitted: 0, effective: 0, inheritable: 0 };
    if capabilities::sets()? != none {
        capabilities::set(none)?;
    }
    if !prctl::get_no_new_privs()? {
        prctl::set_no_new_privs()?;
    }
    // The proof is the state that the kernel reports, not the success of the calls.
    if capabilities::sets()? != none || !prctl::get_no_new_privs()? {
        return Err(io::Error::other("it still has capabilities, or lacks no_new_privs"));
    }
    if prctl::get_dumpable()? || prctl::get_pdeathsig()? != Some(Signal::SIGKILL) {
        return Err(io::Error::other("others can read it, or it would outlive handfast"));
    }
    let landlock = if landlock::restrict() { Cage::possible().landlock } else { 0 };
    Ok(Cage { landlock, seccomp: restrict(&profile) })
}

/// Restricts this process, which has `no_new_privs`, to the system calls of its profile. Returns whether it could be done.
pub fn restrict(profile: &Profile) -> bool {
    match sys::seccomp::install(&seccomp::filter(profile)) {
        Ok(()) => true,
        Err(error) => {
            handfast_core::debug!("the seccomp filter: {}", reason(error));
            false
        }
    }
}

/// Replaces stdin and stdout, which belong to the app, by `/dev/null`, or by stderr if there is no `/dev/null`.
pub fn release_stdio() -> nix::Result<()> {
    match open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(null) => dup2_stdin(&null).and_then(|()| dup2_stdout(&null)),
        Err(_) => dup2_stdin(std::io::stderr()).and_then(|()| dup2_stdout(std::io::stderr())),
    }
}
