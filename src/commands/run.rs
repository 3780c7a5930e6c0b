//! The pipeline: what `run` and `init` do, a line a stage.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::OsString;
use std::time::Instant;

use handfast_core::Problems;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};

use crate::cli::Options;
use crate::config::{self, Environment};
use crate::deliver::{Destination, Published};
use crate::error::{Class, Error, Phase, Result, reason};
use crate::fetch::Aim;
use crate::plan::{Plan, Purpose};
use crate::worker::{Undo, Watch};
use crate::{deliver, launch, lockdown, plan, sys, worker};

/// The signals that end a start, unless they were ignored or blocked when it began.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

/// Becomes the app: returns only where that failed.
pub fn run(
    options: &Options,
    command: Vec<OsString>,
    mut environment: Environment,
    started: Instant,
) -> Result<Infallible> {
    let core_limit = begin()?;
    let plan = make_plan(options, &mut environment, Purpose::Run { command }, started)?;
    Undo::guard(|undo| {
        let start = Start::new(plan, environment, undo);
        // While the worker locks itself up. Before any other failure, so that one is told of a missing /proc as what it is.
        let found = lockdown::ProcessState::read()?;
        let start = start?;
        lockdown::refuse_impossible(&start.plan.isolation, &found)?;
        let program = launch::resolve(start.plan.command(), start.plan.path(), &start.plan.isolation)?;
        let (plan, destination, published) = start.fetch_and_deliver(undo)?;
        let environment = plan.app_environment(|secret| published.has(secret));
        let prepared = launch::Prepared::new(&program, plan.command_line(), &environment)?;
        let handover = destination.hand_over();
        let locked = lockdown::lock(&plan.isolation, &handover.numbers(), core_limit, found)?;
        Err(launch::exec(locked, &prepared, &ENDING))
    })
}

/// Delivers files for another process.
pub fn init(options: &Options, mut environment: Environment, started: Instant) -> Result<()> {
    begin()?;
    let plan = make_plan(options, &mut environment, Purpose::Init, started)?;
    Undo::guard(|undo| Start::new(plan, environment, undo)?.fetch_and_deliver(undo).map(drop))
}

/// The part that `run` and `init` share. From here on the worker locks itself up, while this process checks what it can.
struct Start {
    plan: Plan,
    warnings: Vec<String>,
    reserved: deliver::Reservation,
    worker: worker::Hired,
}

impl Start {
    fn new(mut plan: Plan, environment: Environment, undo: &mut Undo) -> Result<Self> {
        plan.refusal().map_or(Ok(()), Err)?;
        let warnings = environment.foreign_references().into_iter().chain(plan.warnings()).collect();
        lockdown::close_inherited(&[])?;
        // First, so that nothing of ours can stand in the way of the app's descriptors.
        let reserved = deliver::reserve(&plan)?;
        let worker = worker::hire(Aim::Use, &mut plan, environment, undo)?;
        Ok(Self { plan, warnings, reserved, worker })
    }

    /// Nothing is delivered before every secret is there.
    fn fetch_and_deliver(self, undo: &mut Undo) -> Result<(Plan, Destination, Published)> {
        let Self { plan, warnings, reserved, worker } = self;
        for warning in warnings {
            tracing::warn!(target: "handfast", "{warning}");
        }
        // Whatever mask we were started with, what we make is made with the modes that we ask for, or less.
        let mask = umask(Mode::S_IRWXG | Mode::S_IRWXO);
        let mut destination = deliver::prepare(&plan, reserved)?;
        let signals = sys::signals::Watch::new(&ENDING).map_err(|error| system("watch for signals", error))?;
        let watch = Watch::new(&signals);
        let set = worker::fetch(worker, &plan, &watch, undo, || Ok(()))?;
        watch.signal(Phase::Deliver)?;
        let published = destination.publish(&plan, set, &|| watch.signal(Phase::Deliver))?;
        umask(mask);
        Ok((plan, destination, published))
    }
}

/// The part of a start that needs the stores, for commands that deliver nothing.
pub fn ask<T>(
    plan: &mut Plan,
    environment: Environment,
    ask: impl FnOnce(&mut Plan, Environment, &Watch<'_>) -> Result<T>,
) -> Result<T> {
    lockdown::close_inherited(&[])?;
    let signals = sys::signals::Watch::new(&ENDING).map_err(|error| system("watch for signals", error))?;
    ask(plan, environment, &Watch::new(&signals))
}

/// What comes before the configuration is read by a process that will fork a worker.
pub fn begin() -> Result<lockdown::CoreLimit> {
    let core_limit = protect()?;
    hold_signals()?;
    Ok(core_limit)
}

/// The plan of a start; every problem of the configuration at once.
pub fn make_plan(options: &Options, environment: &mut Environment, purpose: Purpose, started: Instant) -> Result<Plan> {
    let mut problems = Problems::default();
    let config = config::read(options, environment, &ENDING, started, &mut problems)?;
    plan::make::make(config, environment, purpose, started, &mut problems).ok_or_else(|| config::error(problems))
}

/// From here on no other process of this uid can read this one, and no core file can come of it.
fn protect() -> Result<lockdown::CoreLimit> {
    nix::sys::prctl::set_dumpable(false).map_err(|error| system("make this process unreadable for others", error))?;
    lockdown::CoreLimit::suspend()
}

/// Signals are held and asked for between the stages, so that none of them is left half done.
fn hold_signals() -> Result<()> {
    sys::signals::hold(&ENDING).map_err(|error| system("hold signals back", error))?;
    // Rust's own start handles these two, to tell of a stack that overflows; one that was sent would be lost the first time.
    for signal in [Signal::SIGSEGV, Signal::SIGBUS] {
        sys::signals::set_default(signal).map_err(|error| system("hold signals back", error))?;
    }
    // Ignored, the worker's end could not be waited for; past RLIMIT_FSIZE, a write shall fail instead of killing us.
    sys::signals::set_default(Signal::SIGCHLD).map_err(|error| system("wait for the worker's end", error))?;
    sys::signals::block(&[Signal::SIGXFSZ]).map_err(|error| system("hold signals back", error))
}

fn system(what: &str, error: impl Into<std::io::Error>) -> Error {
    Error::new(Phase::Plan, Class::Os, format!("cannot {what}: {}", reason(error)))
}
