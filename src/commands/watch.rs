//! `watch`: delivers files for another process, and keeps them fresh.
#![forbid(unsafe_code)]

use std::time::Instant;

use handfast_core::Problems;
use nix::sys::signal::Signal;

use super::start;
use crate::cli::Options;
use crate::config::Environment;
use crate::error::{Phase, Result};
use crate::plan::Purpose;
use crate::worker::{Interrupts, Link, Task};
use crate::{cage, deliver, keep, lockdown, report};

/// Delivers the files, and keeps them fresh until a signal ends this process.
pub fn watch(options: &Options, mut environment: Environment, started: Instant, problems: Problems) -> Result<()> {
    let core_limit = start::secure_process()?;
    let (plan, instances) = start::make_plan(options, &mut environment, Purpose::Watch, started, problems)?;
    start::refuse_plan(&plan)?;
    let warnings = start::warnings(&environment, &plan);
    lockdown::close_inherited(&[])?;
    let reserved = deliver::reserve_descriptors(&plan)?;
    // Before the fork: the worker compares the values of a keeper that was here before with those that it fetches.
    let (earlier, values) = keep::Earlier::find(&plan).unzip();
    let link = Link::start_after(values, Task::of(&plan), &plan, instances, environment);

    let found = lockdown::ProcessState::read()?;
    let mut link = link?;
    start::refuse_isolation(&plan, &found)?;
    start::warn(warnings);
    start::PrivateMask::set().for_good();
    let signals = start::signal_descriptor()?;
    let interrupts = Interrupts::of_start(&signals);
    let mut destination = deliver::prepare(&plan, reserved)?;
    cage::refuse_incomplete(plan.isolation.strict)?;

    let earlier = earlier.filter(|earlier| earlier.can_stay(&destination));
    match earlier {
        Some(_) => link.begin_fetch_once()?,
        None => link.begin_fetch()?,
    }
    let set = link.receive_set(&plan, &interrupts);
    let check_interrupts = || interrupts.check(Phase::Deliver).and_then(|()| link.check_quiet());
    let earlier = keep::publish_first(&plan, set, earlier, &mut destination, &check_interrupts)?;
    link.report_delivery(true)?;
    report::never_wait();
    // HUP only reads everything again from here on, so it counts under `nohup` too.
    let signals = signals.also(Signal::SIGHUP).map_err(|error| Phase::Watch.cannot("watch for signals", error))?;
    keep::watch(&plan, earlier, link, destination, &signals, (core_limit, &found))
}
