//! The steps that the commands share which may start a worker: securing this process, making the plan, early refusals, signals.
#![forbid(unsafe_code)]

use std::time::Instant;

use handfast_core::Problems;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getpid, isatty};

use crate::cli::Options;
use crate::config::{self, Environment};
use crate::error::{Class, Error, Phase, Result};
use crate::lockdown::ProcessState;
use crate::plan::{Instances, Plan, Purpose};
use crate::sys::signals::{self, Signals};
use crate::{lockdown, plan, report, sys};

/// The signals that end a start, unless they were ignored or blocked when it began: those with which images stop their app
/// (`STOPSIGNAL`). A terminal sends WINCH when its size changes; without one, it can only be an image's (httpd's).
pub fn ending_signals() -> Signals {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    let mut signals = vec![SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];
    let on_terminal =
        || [isatty(std::io::stdin()), isatty(std::io::stdout()), isatty(std::io::stderr())].contains(&Ok(true));
    if getpid() == Pid::from_raw(1) && !on_terminal() {
        signals.push(SIGWINCH);
    }
    Signals::of(&signals).and_real_time()
}

/// Secures this process before the configuration is read: no other process of this uid can read it, and it leaves no core file. The
/// signals that end a start are blocked, and checked between the stages, so that no stage is left half done.
pub fn secure_process() -> Result<lockdown::CoreLimit> {
    refuse_emulator()?;
    nix::sys::prctl::set_dumpable(false)
        .map_err(|error| Phase::Plan.cannot("make this process unreadable for others", error))?;
    let core_limit = lockdown::CoreLimit::suspend()?;
    let hold = || {
        report::wait_until_signal(signals::hold(ending_signals())?);
        // Rust's runtime handles these two to report a stack overflow, and would swallow the first one that another process sends.
        signals::set_default(Signal::SIGSEGV)?;
        signals::set_default(Signal::SIGBUS)?;
        // If SIGCHLD is ignored, waitpid(2) does not report the worker's end.
        signals::set_default(Signal::SIGCHLD)?;
        // Past RLIMIT_FSIZE, a write shall fail instead of killing us.
        signals::block(Signals::of(&[Signal::SIGXFSZ]))
    };
    hold().map_err(|error| Phase::Plan.cannot("hold signals back", error))?;
    Ok(core_limit)
}

/// Fails under an emulator of another machine's processor. It has threads of its own, which change no ids and drop no capabilities
/// with this one, and it lets no program filter system calls: neither this process nor the worker could give up anything for good.
pub fn refuse_emulator() -> Result<()> {
    let has_threads = sys::process::threads().is_ok_and(|threads| threads > 1);
    let Some(emulator) = has_threads.then(sys::process::emulator).flatten() else { return Ok(()) };
    let why = "its threads would keep the privileges that handfast drops";
    let message = format!("cannot drop privileges under the emulator `{}`: {why}", emulator.display());
    Err(Error::new(Phase::Plan, Class::Isolation, message)
        .hint("use the image for this machine's own architecture (`docker run --platform`, `docker build --platform`)"))
}

/// Makes the plan of a start. The error lists every problem of the configuration, and the problems found before.
pub fn make_plan(
    options: &Options,
    environment: &mut Environment,
    purpose: Purpose,
    started: Instant,
    mut problems: Problems,
) -> Result<(Plan, Instances)> {
    let config = config::read(options, environment, ending_signals(), started, &mut problems)?;
    plan::make::make(config, environment, purpose, started, &mut problems).ok_or_else(|| config::error(problems))
}

/// Refuses a plan that no start may carry out.
pub fn refuse_plan(plan: &Plan) -> Result<()> {
    plan.refusal().map_or(Ok(()), Err)
}

/// Refuses a plan whose isolation this process cannot achieve. Returns a sentence for each best-effort step that will not work.
pub fn refuse_isolation(plan: &Plan, found: &ProcessState) -> Result<Vec<String>> {
    if plan.purpose == Purpose::Watch {
        return lockdown::refuse_keeping(&plan.isolation, found);
    }
    let shortcomings = lockdown::refuse_impossible(&plan.isolation, found)?;
    if plan.purpose == Purpose::Supervise {
        lockdown::refuse_supervision(&plan.isolation, found)?;
    }
    Ok(shortcomings)
}

/// The warnings of every start with this environment and this plan.
pub fn warnings(environment: &Environment, plan: &Plan) -> Vec<String> {
    environment.foreign_references().into_iter().chain(plan.warnings()).collect()
}

/// Logs each warning as a line of its own.
pub fn warn(warnings: Vec<String>) {
    for warning in warnings {
        tracing::warn!(target: "handfast", "{warning}");
    }
}

/// The descriptor at which the signals arrive that end a start.
pub fn signal_descriptor() -> Result<signals::SignalFd> {
    signals::SignalFd::new(ending_signals()).map_err(|error| Phase::Plan.cannot("watch for signals", error))
}

/// While this value lives, a new file has at most the mode that its creation asks for, whatever umask handfast was started with.
pub struct PrivateMask(Mode);

impl PrivateMask {
    /// Sets the umask.
    pub fn set() -> Self {
        Self(umask(Mode::S_IRWXG | Mode::S_IRWXO))
    }

    /// Keeps the umask as it is now, because this process writes files to its end.
    pub fn for_good(self) {
        std::mem::forget(self);
    }
}

impl Drop for PrivateMask {
    fn drop(&mut self) {
        umask(self.0);
    }
}
