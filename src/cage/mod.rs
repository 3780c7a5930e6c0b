//! The worker's cage, entered right after the fork and before any thread: no capabilities, no way to get one, and a short list of
//! system calls that it can make (`seccomp`). Landlock is a second wall: no writing of files, no signals to others.
#![forbid(unsafe_code)]

mod log;
mod process;
mod processors;
mod seccomp;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use handfast_core::Sockets;
use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};
use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout};

use crate::error::{Class, Error, Phase, Result, reason};
use crate::sys::{self, capabilities};
use crate::{lockdown, report};
#[cfg(test)]
pub use process::gone;
pub use process::{End, Ends, Forked, Worker, ended, fork, system};
pub use processors::Processors;
use seccomp::Profile;

/// The best-effort parts of a cage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cage {
    /// The version of Landlock that stands, 0 for none.
    landlock: u8,
    /// Whether the seccomp filter stands.
    seccomp: bool,
}

/// What a version of Landlock brought that the cage uses, with the kernel that has it.
const LANDLOCK_PARTS: [(u8, &str, &str); 4] = [
    (1, "Landlock", "Linux 5.13"),
    (3, "Landlock's rule against truncating files", "Linux 6.2"),
    (5, "Landlock's rule against controlling devices", "Linux 6.10"),
    (6, "Landlock's scopes for signals and abstract sockets", "Linux 6.12"),
];

/// The last version whose parts the cage uses.
const LANDLOCK_COMPLETE: u8 = 6;

/// In the byte that tells of a cage: the filter stands.
const SECCOMP: u8 = 0x80;

impl Cage {
    /// What the kernel and the container let a cage be.
    pub fn possible() -> Self {
        let landlock = sys::landlock::version().try_into().unwrap_or(LANDLOCK_COMPLETE).min(LANDLOCK_COMPLETE);
        Self { landlock, seccomp: sys::seccomp::available() }
    }

    /// The cage in a byte.
    pub fn encode(self) -> u8 {
        self.landlock | if self.seccomp { SECCOMP } else { 0 }
    }

    /// Reads such a byte.
    pub fn decode(byte: u8) -> Self {
        Self { landlock: byte & !SECCOMP, seccomp: byte & SECCOMP != 0 }
    }

    /// What it lacks of a complete one, with the kernel that has it, if it is a kernel that is too old.
    fn lacks(self) -> Vec<(&'static str, Option<&'static str>)> {
        let all_of_landlock = if self.landlock == 0 { 1 } else { LANDLOCK_PARTS.len() };
        let landlock = LANDLOCK_PARTS.iter().filter(|(version, ..)| *version > self.landlock).take(all_of_landlock);
        let landlock = landlock.map(|(_, part, kernel)| (*part, Some(*kernel)));
        landlock.chain((!self.seccomp).then_some(("seccomp", None))).collect()
    }
}

/// Enters the cage and says which of its best-effort parts stand. What must succeed and does not is an error. Only the socket stays
/// open, and the log, which is stderr from here on.
pub fn enter(parent: Pid, socket: &UnixStream, log: OwnedFd, sockets: Sockets) -> io::Result<Cage> {
    prctl::set_dumpable(false)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above: then nobody would kill us.
    if nix::unistd::getppid() != parent {
        sys::exit::now(0);
    }
    dup2_stderr(&log)?;
    drop(log);
    report::relay();
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    lockdown::close_inherited(&[socket.as_raw_fd()]).map_err(|error| io::Error::other(error.message))?;
    take_leave_of_stdio()?;
    // Ambient capabilities are permitted and inheritable ones: the kernel takes them along.
    let none = capabilities::Sets { permitted: 0, effective: 0, inheritable: 0 };
    if capabilities::sets()? != none {
        capabilities::set(none)?;
    }
    if !prctl::get_no_new_privs()? {
        prctl::set_no_new_privs()?;
    }
    // As everywhere: what counts is what reads back.
    if capabilities::sets()? != none || !prctl::get_no_new_privs()? {
        return Err(io::Error::other("it still has capabilities, or lacks no_new_privs"));
    }
    if prctl::get_dumpable()? || prctl::get_pdeathsig()? != Some(Signal::SIGKILL) {
        return Err(io::Error::other("others can read it, or it would outlive handfast"));
    }
    let landlock = if restrict_files() { Cage::possible().landlock } else { 0 };
    // Only a store that is behind a Unix socket needs no host name. Bound, a Unix socket would be a file.
    let host_names = sockets.internet || !sockets.unix;
    let filter = seccomp::filter(Profile { socket: socket.as_raw_fd(), unix_sockets: sockets.unix, host_names });
    let seccomp = match sys::seccomp::install(&filter) {
        Ok(()) => true,
        Err(error) => {
            handfast_core::debug!("the worker's seccomp filter: {}", reason(error));
            false
        }
    };
    Ok(Cage { landlock, seccomp })
}

/// What the cage would lack here, a sentence each: what [`enter`] would find, without entering.
pub fn missing() -> Vec<String> {
    let sentence = |(part, kernel): (&str, Option<&str>)| match kernel {
        Some(kernel) => format!("{part}, for the worker ({kernel})"),
        None => format!("{part} for the worker"),
    };
    Cage::possible().lacks().into_iter().map(sentence).collect()
}

/// What [`report`] would say of a worker here.
pub fn foresee(strict: bool) -> Result<()> {
    if strict { report(Cage::possible(), strict) } else { Ok(()) }
}

/// Says which parts are missing; with `strict` that ends the start.
pub fn report(cage: Cage, strict: bool) -> Result<()> {
    let missing: Vec<&str> = cage.lacks().into_iter().map(|(part, _)| part).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("the worker ran without {}: this kernel or container does not let it", missing.join(" and "));
    if strict {
        return Err(Error::new(Phase::Fetch, Class::Isolation, message).hint("`[app] strict` asks for it"));
    }
    tracing::warn!(target: "handfast", "{message}");
    Ok(())
}

/// The app's stdin and stdout are none of its business. Where there is no `/dev/null`, what takes their place is the log's pipe.
fn take_leave_of_stdio() -> nix::Result<()> {
    match open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(null) => dup2_stdin(&null).and_then(|()| dup2_stdout(&null)),
        Err(_) => dup2_stdin(std::io::stderr()).and_then(|()| dup2_stdout(std::io::stderr())),
    }
}

/// Where no file is read: devices, the terminals of others among them, and the machine's settings. No provider reads there, but
/// secrets may be in `/dev/shm`.
const NOT_READ: [&str; 2] = ["/dev", "/sys"];
const READ_ALL_THE_SAME: &str = "/dev/shm";

/// Handles every right to write and to execute, and allows none of them anywhere; and the right to read, which stays elsewhere.
fn restrict_files() -> bool {
    let restrict = || {
        let handled = AccessFs::from_write(ABI::V5) | AccessFs::Execute | AccessFs::ReadFile;
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(handled)?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?
            .create()?;
        // What cannot be opened here cannot be read either.
        for place in readable().iter().filter_map(|path| PathFd::new(path).ok()) {
            ruleset = ruleset.add_rule(PathBeneath::new(place, AccessFs::ReadFile))?;
        }
        ruleset.restrict_self()
    };
    let restricted: std::result::Result<_, RulesetError> = restrict();
    match restricted {
        Ok(status) => status.ruleset != RulesetStatus::NotEnforced,
        Err(error) => {
            handfast_core::debug!("the worker's Landlock rules: {error}");
            false
        }
    }
}

/// Each entry of the root directory whose files may be read; all of it, where it cannot be listed.
fn readable() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/") else { return vec!["/".into()] };
    let paths = entries.flatten().map(|entry| entry.path());
    let read = paths.filter(|path| !NOT_READ.iter().any(|other| path == Path::new(other)));
    read.chain([READ_ALL_THE_SAME.into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(landlock: u8, seccomp: bool) -> Vec<&'static str> {
        Cage { landlock, seccomp }.lacks().into_iter().map(|(part, _)| part).collect()
    }

    #[test]
    fn every_part_that_a_kernel_lacks_is_told() {
        let (truncating, devices) =
            ("Landlock's rule against truncating files", "Landlock's rule against controlling devices");
        let scopes = "Landlock's scopes for signals and abstract sockets";
        assert_eq!(lacks(6, true), [""; 0]);
        assert_eq!(lacks(7, false), ["seccomp"]);
        assert_eq!(lacks(0, false), ["Landlock", "seccomp"]);
        assert_eq!(lacks(1, true), [truncating, devices, scopes]);
        assert_eq!(lacks(3, true), [devices, scopes]);
        assert_eq!(lacks(5, true), [scopes]);
    }

    #[test]
    fn strict_takes_nothing_less_than_the_whole() {
        for (landlock, strict, is_refused) in [(6, true, false), (5, true, true), (5, false, false), (0, true, true)] {
            let told = report(Cage { landlock, seccomp: true }, strict);
            assert_eq!(told.is_err_and(|error| error.class == Class::Isolation), is_refused, "{landlock}");
        }
    }

    #[test]
    fn a_cage_is_told_in_a_byte() {
        for cage in [
            Cage { landlock: 0, seccomp: true },
            Cage { landlock: 6, seccomp: false },
            Cage { landlock: 6, seccomp: true },
        ] {
            assert_eq!(Cage::decode(cage.encode()), cage);
        }
    }
}
