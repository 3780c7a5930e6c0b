//! The supervisor: stays in front of the app, and ends with it.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::unistd::chdir;

use super::app::{App, Recipient};
use super::front::{Front, SOON};
use super::terminal::Terminal;
use crate::cage::{self, Profile};
use crate::error::{Class, Error, Phase, Result};
use crate::launch::Child;
use crate::lockdown::{self, CoreLimit, Duties, ProcessState};
use crate::plan::Isolation;
use crate::report;
use crate::sys::program;
use crate::sys::signals::SignalFd;

/// Lets the child become the app once this process is only its supervisor, and stays until the app ends. Returns the exit code.
pub fn supervise(
    child: Child,
    recipient: Recipient,
    isolation: &Isolation,
    core_limit: CoreLimit,
    found: &ProcessState,
) -> Result<u8> {
    let signals = watch_all()?;
    let front = step_in_front(&child, recipient, &signals)?;
    leave_directory()?;
    cage::release_stdio().map_err(|error| Phase::Launch.cannot("let go of stdin and stdout", error))?;
    let own = [front.numbers(), vec![child.descriptor()]].concat();
    lockdown::lock_supervisor(isolation, Duties::default(), &own, core_limit, found)?;
    confine(isolation, &Profile::of_supervisor(child.pid), SUPERVISOR)?;
    let mut front = start_app(child, front)?;
    loop {
        front.handle_events()?;
        if let Some(code) = front.ended {
            front.app.dismiss();
            return Ok(code);
        }
        let timeout = if front.app.has_held_back_signal() {
            PollTimeout::from(SOON.as_millis() as u16)
        } else {
            PollTimeout::NONE
        };
        match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Phase::Launch.cannot("wait for the app", error)),
        }
    }
}

/// A descriptor at which every signal arrives from now on.
pub fn watch_all() -> Result<SignalFd> {
    SignalFd::all().map_err(|error| Phase::Launch.cannot("watch for signals", error))
}

/// Makes this process the supervisor: it gives the app a process group, keeps the terminal, reaps orphans, and no longer waits for a
/// reader of its log.
pub fn step_in_front<'s>(child: &Child, recipient: Recipient, signals: &'s SignalFd) -> Result<Front<'s>> {
    let app =
        App::new(child.pid, recipient).map_err(|error| Phase::Launch.cannot("give the app a process group", error))?;
    let terminal = Terminal::of_stdin(app.pid).map_err(|error| Phase::Launch.cannot("keep the terminal", error))?;
    prctl::set_child_subreaper(true).map_err(|error| Phase::Launch.cannot("become the reaper of orphans", error))?;
    report::never_wait();
    Ok(Front::new(app, terminal, signals))
}

/// Changes to `/`, so that the supervisor keeps no file system of the app busy.
pub fn leave_directory() -> Result<()> {
    chdir("/").map_err(|error| Phase::Launch.cannot("leave the working directory", error))
}

/// How messages call this process.
pub const SUPERVISOR: &str = "the supervisor";

/// Restricts this process, which messages call `who`, to the system calls of its profile.
pub fn confine(isolation: &Isolation, profile: &Profile, who: &str) -> Result<()> {
    if cage::restrict(profile) {
        return Ok(());
    }
    let message = format!("{who} runs without seccomp: this kernel or container does not let it");
    if isolation.strict {
        return Err(Error::new(Phase::Launch, Class::Isolation, message).hint("`[app] strict` asks for it"));
    }
    tracing::warn!(target: "handfast", "{message}");
    Ok(())
}

/// Lets the app start.
pub fn start_app<'s>(child: Child, front: Front<'s>) -> Result<Front<'s>> {
    tracing::info!(target: "handfast", "the app is process {}: a signal that it does not handle takes its default action", child.pid);
    front.hand_over_terminal();
    child.start()?;
    program::unmap_code();
    Ok(front)
}
