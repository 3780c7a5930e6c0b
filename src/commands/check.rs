//! `check`: reports what a start would do, and changes nothing. With `--online`, it also logs in and fetches, and delivers nothing.
#![forbid(unsafe_code)]

mod view;

use std::time::Instant;

use handfast_core::{Place, Problems, escaped_excerpt};

use super::start;
use crate::cage;
use crate::cli::Options;
use crate::config::Environment;
use crate::deliver::{self, Inspection};
use crate::error::{Error, Result};
use crate::lockdown::{self, Duties, ProcessState};
use crate::plan::{Instances, Plan, Purpose};
use crate::worker::{self, Attempt, Interrupts, Rehearsal, Task, Tried};
use view::{Provider, View};

/// The report of a check.
pub struct Checked {
    /// The plan and the findings, as text or JSON.
    pub text: Vec<u8>,
    /// Why a start would end, if it would.
    pub refusal: Option<Error>,
}

/// Makes the plan of a start and runs the checks that come before its fetch. With `online`, it also logs in, fetches every secret as
/// the start would, and revokes the credentials that were issued for it.
pub fn check(
    options: &Options,
    (purpose, format, online): (&str, &str, bool),
    mut environment: Environment,
    started: Instant,
    mut problems: Problems,
) -> Result<Checked> {
    let (purpose, as_json) = parse_options(purpose, format, &mut problems);
    if online {
        start::secure_process()?;
    } else {
        start::refuse_emulator()?;
    }
    let (plan, instances) = start::make_plan(options, &mut environment, purpose, started, problems)?;
    let mut inspection = deliver::inspect(&plan);
    inspection.missing.extend(cage::missing());
    let found = (purpose != Purpose::Init).then(ProcessState::read);
    let stays = found.as_ref().and_then(|found| stays(&plan, inspection.capabilities, found.as_ref().ok()?));
    let refusal = check_before_fetch(&plan, &instances, found, &mut inspection).err();
    let warnings = [start::warnings(&environment, &plan), std::mem::take(&mut inspection.warnings)].concat();
    let mut providers: Vec<Provider> =
        instances.iter().map(|one| Provider { name: one.name.clone(), kind: one.kind, identity: None }).collect();
    // Also after a refusal, so that one check reports the problems with the references too.
    let (tried, failure) = match online.then(|| attempt(&plan, instances, environment)) {
        Some(Ok(Attempt { tried, mut identities })) => {
            for (instance, provider) in providers.iter_mut().enumerate() {
                provider.identity = identities.remove(&instance);
            }
            let failures: Vec<Error> = tried.iter().filter_map(Tried::failure).cloned().collect();
            let failure = (!failures.is_empty()).then(|| worker::sum(failures, plan.secrets.len()));
            (Some(tried), failure)
        }
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let refusal = refusal.or(failure);
    let view =
        View { plan: &plan, stays, providers, inspection: &inspection, warnings, tried, refusal: refusal.as_ref() };
    let text = if as_json { view.json() } else { view.text() };
    Ok(Checked { text: text.into_bytes(), refusal })
}

/// Runs the checks before the fetch in the order of a start. Fails as the start would.
fn check_before_fetch(
    plan: &Plan,
    instances: &Instances,
    found: Option<Result<ProcessState>>,
    inspection: &mut Inspection,
) -> Result<()> {
    start::refuse_plan(plan)?;
    deliver::check_descriptor_limit(plan)?;
    let found = found.transpose()?;
    let rehearsal = Rehearsal::start(Task::of(plan), plan, instances)?;
    if let Some(found) = found {
        inspection.missing.extend(start::refuse_isolation(plan, &found)?);
    }
    inspection.refusal.take().map_or(Ok(()), Err)?;
    cage::refuse_incomplete(plan.isolation.strict)?;
    rehearsal.end(plan)
}

/// The process that would stay after the start, if any, and the capabilities that it would keep. `files` are the capabilities that
/// writing later files needs.
fn stays(plan: &Plan, files: u64, found: &ProcessState) -> Option<(&'static str, u64)> {
    let duties = Duties { files, restarts: plan.may_restart() };
    match plan.purpose {
        Purpose::Supervise => Some(("supervisor", lockdown::of_supervisor(&plan.isolation, duties, found))),
        Purpose::Watch => Some(("keeper", files)),
        Purpose::Run | Purpose::Init => None,
    }
}

/// Asks the stores as a start would.
fn attempt(plan: &Plan, instances: Instances, environment: Environment) -> Result<Attempt> {
    lockdown::close_inherited(&[])?;
    let signals = start::signal_descriptor()?;
    worker::attempt(plan, instances, environment, &Interrupts::of_start(&signals))
}

/// The values of `--for` and `--format`.
fn parse_options(purpose: &str, format: &str, problems: &mut Problems) -> (Purpose, bool) {
    let mut wrong = |message| problems.add(&Place::CommandLine, message);
    let purpose = match purpose {
        "run" => Purpose::Run,
        "supervise" => Purpose::Supervise,
        "init" => Purpose::Init,
        "watch" => Purpose::Watch,
        other => {
            wrong(format!("`--for` is \"{}\", expected run, supervise, init or watch", escaped_excerpt(other)));
            Purpose::Run
        }
    };
    if !matches!(format, "text" | "json") {
        wrong(format!("`--format` is \"{}\", expected text or json", escaped_excerpt(format)));
    }
    (purpose, format == "json")
}
