//! The supervisor: passes signals on to the app, reaps whatever has no parent left, and ends with the app.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, chdir, getpid};

use super::app::{App, Recipient};
use super::terminal::Terminal;
use crate::cage::{self, Profile};
use crate::error::{Class, Error, Phase, Result, reason};
use crate::launch::Child;
use crate::lockdown::{self, CoreLimit, ProcessState};
use crate::plan::Isolation;
use crate::report;
use crate::sys::jobs::{self, ChildState};
use crate::sys::signals::Watch;

/// How many signals, and how many ended children, are dealt with before the other kind gets its turn.
const AT_A_TIME: usize = 1024;

/// When to try again a signal for which the app had no room, in milliseconds.
const SOON: u16 = 10;

/// Lets the child become the app once this process is only its supervisor, and stays until the app ends. Returns the exit code.
pub fn supervise(
    child: Child,
    recipient: Recipient,
    isolation: &Isolation,
    core_limit: CoreLimit,
    found: &ProcessState,
) -> Result<u8> {
    let app = App::new(child.pid, recipient).map_err(|error| system("give the app a process group", error))?;
    let terminal = Terminal::of_stdin(app.pid).map_err(|error| system("keep the terminal", error))?;
    let signals = Watch::all().map_err(|error| system("watch for signals", error))?;
    prctl::set_child_subreaper(true).map_err(|error| system("become the reaper of orphans", error))?;
    chdir("/").map_err(|error| system("leave the working directory", error))?;
    report::never_wait();
    cage::take_leave_of_stdio().map_err(|error| system("let go of stdin and stdout", error))?;

    let own = [Some(signals.as_fd().as_raw_fd()), Some(child.descriptor()), terminal.as_ref().map(Terminal::number)];
    let own: Vec<_> = own.into_iter().flatten().collect();
    lockdown::lock_supervisor(isolation, &own, core_limit, found)?;
    confine(isolation, &app)?;
    tracing::info!(target: "handfast", "the app is process {}: a signal that it does not handle takes its default action", app.pid);
    if let Some(terminal) = &terminal {
        terminal.hand_over();
    }
    child.start()?;
    Supervisor { app, terminal, signals, is_stopped: false }.until_the_end()
}

/// Restricts this process to the system calls of the loop below.
fn confine(isolation: &Isolation, app: &App) -> Result<()> {
    if cage::restrict(&Profile::of_supervisor(app.pid)) {
        return Ok(());
    }
    let message = "the supervisor runs without seccomp: this kernel or container does not let it";
    if isolation.strict {
        return Err(Error::new(Phase::Launch, Class::Isolation, message).hint("`[app] strict` asks for it"));
    }
    tracing::warn!(target: "handfast", "{message}");
    Ok(())
}

struct Supervisor {
    app: App,
    /// `None` where stdin is no terminal of ours.
    terminal: Option<Terminal>,
    signals: Watch,
    /// We have stopped the app's process group.
    is_stopped: bool,
}

impl Supervisor {
    /// Returns the app's exit code.
    fn until_the_end(mut self) -> Result<u8> {
        loop {
            let has_more = self.pass_on_signals()?;
            match self.reap()? {
                Reaped::App(code) => {
                    self.app.dismiss();
                    return Ok(code);
                }
                Reaped::Some => {}
                Reaped::All if has_more => {}
                Reaped::All => self.wait()?,
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) -> Result<()> {
        let timeout = if self.app.is_behind() { PollTimeout::from(SOON) } else { PollTimeout::NONE };
        match poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(system("wait for the app", error)),
        }
    }

    /// Whether there may be more.
    fn pass_on_signals(&mut self) -> Result<bool> {
        if self.app.is_behind() {
            self.app.catch_up();
            self.take_real_time(!self.app.is_behind())?;
        }
        for _ in 0..AT_A_TIME {
            let arrived = self.signals.next().map_err(|error| system("read pending signals", error))?;
            let Some(arrived) = arrived else { return Ok(false) };
            match arrived.number {
                // What we have done ourselves, such as a write to a pipe that nobody reads any more.
                _ if arrived.sender == getpid().as_raw() => {}
                number if number == Signal::SIGCONT as u8 => {
                    self.terminal.as_ref().map(Terminal::hand_over);
                    if self.is_stopped { self.go_on() } else { self.app.pass_on(arrived) }
                }
                _ => {
                    self.app.pass_on(arrived);
                    if self.app.is_behind() {
                        self.take_real_time(false)?;
                    }
                }
            }
        }
        Ok(true)
    }

    /// While one waits for room, no real-time signal is taken, so that none overtakes it. All others go on.
    fn take_real_time(&self, takes: bool) -> Result<()> {
        self.signals.take_real_time(takes).map_err(|error| system("watch for signals", error))
    }

    fn reap(&mut self) -> Result<Reaped> {
        for _ in 0..AT_A_TIME {
            match jobs::changed().map_err(|error| system("wait for children", error))? {
                None => return Ok(Reaped::All),
                Some((child, ChildState::Ended(code))) if child == self.app.pid.as_raw() => {
                    return Ok(Reaped::App(code));
                }
                Some((child, ChildState::Stopped(signal))) if child == self.app.pid.as_raw() => self.stop(signal)?,
                Some(_) => {}
            }
        }
        Ok(Reaped::Some)
    }

    /// The app was stopped. Where the terminal's ^Z does that, it stops whoever has started the app too, and so do we.
    fn stop(&mut self, signal: u8) -> Result<()> {
        let is = |one: Signal| signal == one as u8;
        let was_in_front = self.terminal.as_ref().is_some_and(Terminal::take_back);
        // Somebody has stopped it on purpose, and will let it go on.
        if is(Signal::SIGSTOP) && !was_in_front {
            return Ok(());
        }
        // PID 1 cannot be stopped, so its app goes on below.
        if getpid() != Pid::from_raw(1) {
            self.app.stop();
            self.is_stopped = true;
        }
        if jobs::stop(was_in_front).map_err(|error| system("stop with the app", error))? {
            // The SIGCONT that has ended the stop is passed on next.
            return Ok(());
        }
        // Nobody can let us go on, so nobody would let the app go on.
        let is_in_front = self.terminal.as_ref().is_some_and(Terminal::hand_over);
        if is(Signal::SIGTSTP) || is_in_front && !is(Signal::SIGSTOP) {
            self.go_on();
        }
        Ok(())
    }

    fn go_on(&mut self) {
        self.is_stopped = false;
        self.app.go_on();
    }
}

enum Reaped {
    /// The app has ended, with this exit code.
    App(u8),
    /// As many as are reaped at a time.
    Some,
    /// All that had ended.
    All,
}

fn system(what: &str, error: impl Into<std::io::Error>) -> Error {
    Error::new(Phase::Launch, Class::Os, format!("cannot {what}: {}", reason(error)))
}
