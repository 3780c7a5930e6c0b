//! `run`: delivers the secrets and becomes the app.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::time::Instant;

use super::start;
use crate::cli::Options;
use crate::config::Environment;
use crate::error::{Phase, Result};
use crate::plan::Purpose;
use crate::worker::{Link, Task, Watch};
use crate::{cage, deliver, launch, lockdown};

/// Becomes the app: returns only where that failed.
pub fn run(
    options: &Options,
    command: &[OsString],
    mut environment: Environment,
    started: Instant,
) -> Result<Infallible> {
    let core_limit = start::begin()?;
    let (plan, instances) = start::make_plan(options, &mut environment, Purpose::Run, started)?;
    start::refuse(&plan)?;
    let warnings = start::warnings(&environment, &plan);
    lockdown::close_inherited(&plan.inherited)?;
    // First, so that nothing of ours can stand in the way of the app's descriptors.
    let reserved = deliver::reserve(&plan)?;
    let link = Link::start(Task::Fetch, &plan, instances, environment);

    // While the worker locks itself up: all that can be refused before a store is asked for anything. A missing /proc comes first.
    let found = lockdown::ProcessState::read()?;
    let mut link = link?;
    lockdown::refuse_impossible(&plan.isolation, &found)?;
    let name = command.first().map_or(OsStr::new(""), OsString::as_os_str);
    let program = launch::resolve(name, plan.path(), &plan.isolation)?;
    start::warn(warnings);
    let mask = start::PrivateMask::set();
    let signals = start::signals()?;
    let watch = Watch::new(&signals);
    let mut destination = deliver::prepare(&plan, reserved, link.held_descriptors())?;
    cage::foresee(plan.isolation.strict)?;

    link.begin()?;
    let set = link.next(&plan, &watch)?;
    let go_on = || watch.signal(Phase::Deliver).and_then(|()| link.check());
    let published = destination.publish(&plan, set, &go_on)?;
    drop(mask);
    let environment = plan.app_environment(|secret| published.has(secret));
    let prepared = launch::Prepared::new(&program, command, &environment)?;
    link.end(&watch)?;

    // Nothing may own a descriptor that lockdown closes.
    drop(signals);
    let handover = destination.hand_over();
    let keep_open = [&plan.inherited[..], &handover.numbers()].concat();
    let ending = start::ending();
    let locked = lockdown::lock(&plan.isolation, &keep_open, core_limit, found)?;
    Err(launch::exec(locked, &prepared, ending))
}
