//! The worker's cage, entered right after the fork and before any thread: no capabilities, no way to get one, no writing of
//! files, no signals to others, a short list of system calls less.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

use landlock::{ABI, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, dup2_stdin, dup2_stdout};

use super::seccomp;
use crate::error::{Class, Error, Phase, Result, reason};
use crate::sys::{self, capabilities};

/// Landlock forbids writing files, and signals and abstract sockets to the outside (or as much of that as the kernel knows).
pub const LANDLOCK: u8 = 1;
/// The seccomp filter is in place.
pub const SECCOMP: u8 = 2;

/// Enters the cage and says which of its best-effort parts stand. What must succeed and does not is an error.
pub fn enter(parent: Pid, socket: RawFd) -> io::Result<u8> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above: then nobody would kill us.
    if nix::unistd::getppid() != parent {
        sys::exit::now(0);
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    close_others(socket);
    take_leave_of_stdio();
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
    let mut parts = 0;
    if restrict_files() {
        parts |= LANDLOCK;
    }
    match sys::seccomp::install(&seccomp::filter(std::process::id())) {
        Ok(()) => parts |= SECCOMP,
        Err(error) => handfast_core::debug!("the worker's seccomp filter: {}", reason(error)),
    }
    Ok(parts)
}

/// Landlock's first version with scopes for signals and abstract sockets.
const LANDLOCK_SCOPES: u32 = 6;

/// What the cage would lack here, a sentence each: what [`enter`] would find, without entering.
pub fn missing() -> Vec<&'static str> {
    let landlock = match sys::landlock::version() {
        0 => Some("Landlock for the worker (Linux 5.13)"),
        version if version < LANDLOCK_SCOPES => {
            Some("Landlock's scopes for signals and sockets, for the worker (Linux 6.12)")
        }
        _ => None,
    };
    let seccomp = (!sys::seccomp::available()).then_some("seccomp for the worker");
    landlock.into_iter().chain(seccomp).collect()
}

/// What [`report`] would say of a worker here.
pub fn foresee(strict: bool) -> Result<()> {
    let landlock = if sys::landlock::version() > 0 { LANDLOCK } else { 0 };
    let seccomp = if sys::seccomp::available() { SECCOMP } else { 0 };
    if strict { report(landlock | seccomp, strict) } else { Ok(()) }
}

/// Says which parts are missing; with `strict` that ends the start.
pub fn report(parts: u8, strict: bool) -> Result<()> {
    let missing: Vec<&str> = [(LANDLOCK, "Landlock"), (SECCOMP, "seccomp")]
        .into_iter()
        .filter(|(part, _)| parts & part == 0)
        .map(|(_, name)| name)
        .collect();
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

/// The privileged process' other descriptors are none of the worker's business.
fn close_others(socket: RawFd) {
    let number = socket.unsigned_abs();
    for (first, last) in [(3, number.saturating_sub(1)), (number + 1, u32::MAX)] {
        if first <= last
            && let Err(error) = sys::descriptors::close_range(first, last)
        {
            handfast_core::debug!("the worker keeps the descriptors from {first} to {last}: {}", reason(error));
        }
    }
}

/// The app's stdin and stdout are none of its business either; stderr is its log.
fn take_leave_of_stdio() {
    let replace = || {
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)
    };
    if let Err(error) = replace() {
        handfast_core::debug!("the worker keeps stdin and stdout: {}", reason(error));
    }
}

/// Handles every right to write, and to execute, and allows none of them anywhere.
fn restrict_files() -> bool {
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_write(ABI::V5) | AccessFs::Execute)?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?
            .create()?
            .restrict_self()
    };
    match restrict() {
        Ok(status) => status.ruleset != RulesetStatus::NotEnforced,
        Err(error) => {
            handfast_core::debug!("the worker's Landlock rules: {error}");
            false
        }
    }
}
