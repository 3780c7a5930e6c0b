//! `watch`: delivers files for another process, and keeps them fresh.
#![forbid(unsafe_code)]

use std::time::Instant;

use handfast_core::Problems;

use super::start;
use crate::cli::Options;
use crate::config::Environment;
use crate::error::{Phase, Result};
use crate::plan::Purpose;
use crate::worker::{Interrupts, Link, Task};
use crate::{cage, deliver, keep, lockdown, report};

/// Returns when a signal ends it.
pub fn watch(options: &Options, mut environment: Environment, started: Instant, problems: Problems) -> Result<()> {
    let core_limit = start::begin()?;
    let (plan, instances) = start::make_plan(options, &mut environment, Purpose::Watch, started, problems)?;
    start::refuse(&plan)?;
    let warnings = start::warnings(&environment, &plan);
    lockdown::close_inherited(&[])?;
    let reserved = deliver::reserve(&plan)?;
    let link = Link::start(Task::of(&plan), &plan, instances, environment);

    let found = lockdown::ProcessState::read()?;
    let mut link = link?;
    start::refuse_isolation(&plan, &found)?;
    start::warn(warnings);
    start::PrivateMask::set().for_good();
    let signals = start::signals()?;
    let interrupts = Interrupts::of_start(&signals);
    let mut destination = deliver::prepare(&plan, reserved)?;
    cage::foresee(plan.isolation.strict)?;

    link.begin()?;
    let set = link.next(&plan, &interrupts);
    let check_interrupts = || interrupts.check(Phase::Deliver).and_then(|()| link.check());
    let earlier = keep::first(&plan, set, &mut destination, &check_interrupts)?;
    link.answer(true)?;
    report::never_wait();
    keep::watch(&plan, earlier, link, destination, &signals, (core_limit, &found))
}
