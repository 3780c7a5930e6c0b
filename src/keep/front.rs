//! The supervisor's work in front of its app: passes signals on, reaps orphans, and hands the terminal over.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};

use super::app::App;
use super::terminal::Terminal;
use crate::error::{Phase, Result};
use crate::sys::jobs::{self, ChildState};
use crate::sys::signals::{self, SignalFd, Signals};

/// How many signals are handled before children are reaped, and how many children before signals are handled.
const AT_A_TIME: usize = 1024;

/// How long to wait before the signal that is held back is tried again.
pub const SOON: Duration = Duration::from_millis(10);

/// How long to wait for the end of the app's process group after KILL. A process that waits for a device is left behind.
const GROUP_PATIENCE: Duration = Duration::from_secs(1);

/// The signals by which another process requests the app's end.
const TO_END: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// The app, and the state of the process in front of it.
pub struct Front<'s> {
    /// The app.
    pub app: App,
    /// The app's exit code, once it has ended. From then on no signal is read: the next app may get it.
    pub ended: Option<u8>,
    /// Whether another process has sent TERM, INT or QUIT.
    pub is_end_requested: bool,
    /// Whether another process has sent TERM or `stop_signal`: then the app ends, however long that takes.
    pub is_stop_requested: bool,
    /// The signal that stops the app.
    pub stop_signal: u8,
    /// The process of the worker, while there is one.
    pub worker: Option<Pid>,
    /// The worker's exit code, once it has ended.
    pub worker_ended: Option<u8>,
    /// `None` where stdin is no terminal of ours.
    terminal: Option<Terminal>,
    signals: &'s SignalFd,
    /// Whether the supervisor has stopped the app's process group.
    is_stopped: bool,
}

impl<'s> Front<'s> {
    /// The state before the app starts.
    pub fn new(app: App, terminal: Option<Terminal>, signals: &'s SignalFd) -> Self {
        Self {
            app,
            ended: None,
            is_end_requested: false,
            is_stop_requested: false,
            stop_signal: Signal::SIGTERM as u8,
            worker: None,
            worker_ended: None,
            terminal,
            signals,
            is_stopped: false,
        }
    }

    /// Takes the next app in place of the one that has ended.
    pub fn replace_app(&mut self, app: App) -> Result<()> {
        if let Some(terminal) = &mut self.terminal {
            terminal.replace_app(app.pid);
        }
        if self.app.has_held_back_signal() {
            self.take_real_time(true)?;
        }
        (self.app, self.ended, self.is_stopped) = (app, None, false);
        (self.is_end_requested, self.is_stop_requested) = (false, false);
        Ok(())
    }

    /// The numbers of our own descriptors.
    pub fn numbers(&self) -> Vec<RawFd> {
        let terminal = self.terminal.as_ref().map(Terminal::number);
        terminal.into_iter().chain([self.signals.as_fd().as_raw_fd()]).collect()
    }

    /// Gives the app the terminal, if the supervisor has it.
    pub fn hand_over_terminal(&self) {
        self.terminal.as_ref().map(Terminal::hand_over);
    }

    /// Handles the signals and the ended children that have arrived, until the app has ended. Leaves some of a flood of signals for the
    /// next call, so that other work gets its turn; the next poll then returns at once.
    pub fn handle_events(&mut self) -> Result<()> {
        while self.ended.is_none() {
            self.pass_on_signals()?;
            match self.reap()? {
                Reaped::App(code) => self.ended = Some(code),
                Reaped::Some => {}
                Reaped::All => break,
            }
        }
        Ok(())
    }

    /// Kills the rest of the process group of an app that has ended, and waits for its end: the next app may need the same port or lock.
    pub fn end_group(&mut self) -> Result<()> {
        let until = Instant::now() + GROUP_PATIENCE;
        self.app.kill();
        while self.app.has_group() && Instant::now() < until {
            self.reap()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether TERM, INT or QUIT has arrived since the app ended. The signal stays pending.
    pub fn is_restart_cancelled(&self) -> Result<bool> {
        let waiting = signals::pending(Signals::of(&TO_END))
            .map_err(|error| Phase::Launch.cannot("read pending signals", error))?;
        Ok(waiting.is_some())
    }

    fn pass_on_signals(&mut self) -> Result<()> {
        if self.app.has_held_back_signal() {
            self.app.retry_held_back_signal();
            self.take_real_time(!self.app.has_held_back_signal())?;
        }
        for _ in 0..AT_A_TIME {
            let arrived = self.signals.next().map_err(|error| Phase::Launch.cannot("read pending signals", error))?;
            let Some(arrived) = arrived else { break };
            match arrived.number {
                // Caused by the supervisor itself, such as SIGPIPE.
                _ if arrived.sender == getpid().as_raw() => {}
                number if number == Signal::SIGCONT as u8 => {
                    self.terminal.as_ref().map(Terminal::hand_over);
                    if self.is_stopped { self.go_on() } else { self.app.pass_on(arrived) }
                }
                number => {
                    self.is_end_requested |= TO_END.iter().any(|signal| *signal as u8 == number);
                    self.is_stop_requested |= number == Signal::SIGTERM as u8 || number == self.stop_signal;
                    self.app.pass_on(arrived);
                    if self.app.has_held_back_signal() {
                        self.take_real_time(false)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads real-time signals, or leaves them pending: while one is held back, no other may overtake it.
    fn take_real_time(&self, takes: bool) -> Result<()> {
        self.signals.take_real_time(takes).map_err(|error| Phase::Launch.cannot("watch for signals", error))
    }

    fn reap(&mut self) -> Result<Reaped> {
        for _ in 0..AT_A_TIME {
            match jobs::changed().map_err(|error| Phase::Launch.cannot("wait for children", error))? {
                None => return Ok(Reaped::All),
                Some((child, ChildState::Ended(code))) if child == self.app.pid.as_raw() => {
                    return Ok(Reaped::App(code));
                }
                Some((child, ChildState::Ended(code))) if self.worker == Some(Pid::from_raw(child)) => {
                    (self.worker, self.worker_ended) = (None, Some(code));
                }
                Some((child, ChildState::Stopped(signal))) if child == self.app.pid.as_raw() => self.stop(signal)?,
                Some(_) => {}
            }
        }
        Ok(Reaped::Some)
    }

    /// Called when the app was stopped. After the terminal's ^Z, the supervisor stops itself too, so that the shell notices the stop.
    fn stop(&mut self, signal: u8) -> Result<()> {
        let is = |one: Signal| signal == one as u8;
        // An app that was started in the background reads from a terminal that is ours by now: `fg` sends no signal to a running job.
        if (is(Signal::SIGTTIN) || is(Signal::SIGTTOU)) && self.terminal.as_ref().is_some_and(Terminal::hand_over) {
            self.go_on();
            return Ok(());
        }
        let was_in_front = self.terminal.as_ref().is_some_and(Terminal::take_back);
        // Another process has stopped the app on purpose, and will continue it.
        if is(Signal::SIGSTOP) && !was_in_front {
            return Ok(());
        }
        // PID 1 cannot be stopped, so its app is continued below.
        if getpid() != Pid::from_raw(1) {
            self.app.stop();
            self.is_stopped = true;
        }
        if jobs::stop(was_in_front).map_err(|error| Phase::Launch.cannot("stop with the app", error))? {
            // The SIGCONT that has ended the stop is passed on next.
            return Ok(());
        }
        // No process could continue the supervisor, so none would continue the app.
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
    /// As many children as are reaped at a time.
    Some,
    /// Every child that had ended.
    All,
}
