//! `init`: delivers files for another process.
#![forbid(unsafe_code)]

use std::time::Instant;

use handfast_core::Problems;

use super::start;
use crate::cli::Options;
use crate::config::Environment;
use crate::error::{Phase, Result};
use crate::plan::Purpose;
use crate::worker::{Interrupts, Link, Task};
use crate::{cage, deliver, lockdown};

/// Delivers the files, and returns.
pub fn init(options: &Options, mut environment: Environment, started: Instant, problems: Problems) -> Result<()> {
    start::secure_process()?;
    let (plan, instances) = start::make_plan(options, &mut environment, Purpose::Init, started, problems)?;
    start::refuse_plan(&plan)?;
    let warnings = start::warnings(&environment, &plan);
    lockdown::close_inherited(&[])?;
    let reserved = deliver::reserve_descriptors(&plan)?;
    let mut link = Link::start(Task::of(&plan), &plan, instances, environment)?;

    start::warn(warnings);
    let _mask = start::PrivateMask::set();
    let signals = start::signal_descriptor()?;
    let interrupts = Interrupts::of_start(&signals);
    let mut destination = deliver::prepare(&plan, reserved)?;
    cage::refuse_incomplete(plan.isolation.strict)?;

    link.begin_fetch()?;
    let set = link.receive_set(&plan, &interrupts)?;
    let check_interrupts = || interrupts.check(Phase::Deliver).and_then(|()| link.check_quiet());
    destination.publish(&plan, set, &check_interrupts)?;
    link.end(&interrupts)
}
