//! `run`: delivers the secrets and becomes the app, or starts and supervises it.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::time::Instant;

use handfast_core::{Place, Problems, escaped_excerpt};

use super::start;
use crate::cli::Run;
use crate::config::Environment;
use crate::error::{Phase, Result};
use crate::keep::Recipient;
use crate::launch::Spawned;
use crate::plan::Purpose;
use crate::worker::{Interrupts, Link, Task};
use crate::{cage, deliver, keep, launch, lockdown};

/// Becomes the app, and returns only if that fails. With `--supervise`: starts the app, and returns the app's exit code.
pub fn run(run: &Run, mut environment: Environment, started: Instant, mut problems: Problems) -> Result<u8> {
    let Run { options, command, .. } = run;
    let recipient = recipient(run.supervise.as_ref(), &mut problems);
    let purpose = if recipient.is_some() { Purpose::Supervise } else { Purpose::Run };
    let core_limit = start::secure_process()?;
    let (plan, instances) = start::make_plan(options, &mut environment, purpose, started, problems)?;
    start::refuse_plan(&plan)?;
    let warnings = start::warnings(&environment, &plan);
    lockdown::close_inherited(&plan.inherited)?;
    // Before handfast opens anything else, which could take a number that a secret needs.
    let reserved = deliver::reserve_descriptors(&plan)?;
    let link = Link::start(Task::of(&plan), &plan, instances, environment);

    // The worker enters its cage meanwhile. These checks end the start before a request to a store; a missing /proc is reported
    // before a worker that could not start.
    let found = lockdown::ProcessState::read()?;
    let mut link = link?;
    start::refuse_isolation(&plan, &found)?;
    let name = command.first().map_or(OsStr::new(""), OsString::as_os_str);
    let program = launch::resolve(name, plan.path(), &plan.isolation)?;
    start::warn(warnings);
    let mask = start::PrivateMask::set();
    let signals = start::signal_descriptor()?;
    let interrupts = Interrupts::of_start(&signals);
    let mut destination = deliver::prepare(&plan, reserved)?;
    cage::refuse_incomplete(plan.isolation.strict)?;

    link.begin_fetch()?;
    let set = link.receive_set(&plan, &interrupts)?;
    let check_interrupts = || interrupts.check(Phase::Deliver).and_then(|()| link.check_quiet());
    let published = destination.publish(&plan, set, &check_interrupts)?;
    drop(mask);
    let environment = plan.app_environment(|secret| published.has(secret));
    let prepared = launch::Prepared::new(&program, command, &environment)?;
    let keeper = match recipient {
        Some(_) if plan.keeps_fresh() => link.report_delivery(true).map(|()| Some(link))?,
        Some(_) => link.end_unless_leased(&interrupts)?,
        None => link.end(&interrupts).map(|()| None)?,
    };
    if let Some((recipient, link)) = recipient.zip(keeper) {
        drop(signals);
        let (isolation, inherited, ending) = (&plan.isolation, &plan.inherited[..], start::ending_signals());
        let recipe = keep::Recipe { isolation, inherited, core_limit, prepared, ending, started };
        return keep::supervise_fresh(&plan, &recipe, recipient, link, destination, &found);
    }

    // Lockdown closes these descriptors, so no value may own one of them.
    drop(signals);
    let handover = destination.hand_over();
    let ending = start::ending_signals();
    if let Some(recipient) = recipient
        && let Spawned::Supervisor(child) = launch::spawn()?
    {
        drop(handover);
        return keep::supervise(child, recipient, &plan.isolation, core_limit, &found);
    }
    let keep_open = [&plan.inherited[..], &handover.numbers()].concat();
    let locked = lockdown::lock(&plan.isolation, &keep_open, core_limit, found)?;
    Err(launch::exec(locked, &prepared, ending))
}

/// The recipient of the signals, if `--supervise` is given.
fn recipient(supervise: Option<&Option<String>>, problems: &mut Problems) -> Option<Recipient> {
    match supervise?.as_deref() {
        None => Some(Recipient::App),
        Some("group") => Some(Recipient::Group),
        Some(other) => {
            let quoted = escaped_excerpt(other);
            let hint = "`--supervise` alone passes signals on to the app, `--supervise=group` to its process group";
            problems.add_with_hint(&Place::CommandLine, format!("`--supervise` is \"{quoted}\", expected group"), hint);
            Some(Recipient::App)
        }
    }
}
