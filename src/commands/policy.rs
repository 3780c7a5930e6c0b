//! `policy`: the least-privilege policy that the configuration's references need, in their store's own language.
#![forbid(unsafe_code)]

use std::time::Instant;

use handfast_core::{Place, Problems, did_you_mean};

use super::start;
use crate::cli::Options;
use crate::config::{self, Environment};
use crate::error::{Error, Result};
use crate::lockdown;
use crate::plan::{Instances, Plan, Purpose};
use crate::worker::{self, Interrupts};

/// The policy for one provider instance. With `online`, the store is asked for the facts that the configuration does not have, such
/// as the kind of a mount.
pub fn policy(
    options: &Options,
    (provider, online): (Option<&str>, bool),
    mut environment: Environment,
    started: Instant,
    problems: Problems,
) -> Result<String> {
    if online {
        start::secure_process()?;
    }
    let (plan, instances) = start::make_plan(options, &mut environment, Purpose::Run, started, problems)?;
    let chosen = choose(&instances, provider)?;
    // Before the store is asked, so that handfast does not log in to a store that has no policies.
    let offline = offline_policy(chosen, &plan, &instances)?;
    if !online {
        return Ok(offline);
    }
    lockdown::close_inherited(&[])?;
    let signals = start::signal_descriptor()?;
    let with_answers = worker::policy(chosen, &plan, instances, environment, &Interrupts::of_start(&signals))?;
    Ok(with_answers.unwrap_or(offline))
}

/// The number of the instance that `provider` names, or of the only instance.
fn choose(instances: &Instances, provider: Option<&str>) -> Result<usize> {
    let names = || instances.iter().map(|instance| instance.name.as_str());
    let in_use = || names().collect::<Vec<_>>().join(", ");
    match (provider, instances.len()) {
        (_, 0) => Err(refused("no secret comes from a provider", "a policy grants what the references need")),
        (None, 1) => Ok(0),
        (None, several) => {
            let hint = format!("name one after `policy`: {}", in_use());
            Err(refused(&format!("the secrets come from {several} providers, and each has policies of its own"), &hint))
        }
        (Some(name), _) => names().position(|known| known == name).ok_or_else(|| {
            let hint = did_you_mean(name, names()).unwrap_or_else(|| format!("in use: {}", in_use()));
            refused(&format!("no secret comes from `{}`", handfast_core::excerpt(name)), &hint)
        }),
    }
}

/// The policy of an instance, from the configuration alone.
fn offline_policy(chosen: usize, plan: &Plan, instances: &Instances) -> Result<String> {
    let secrets = plan.secrets.iter().filter(|secret| secret.instance == chosen);
    let locators: Vec<_> = secrets.map(|secret| &secret.reference.locator).collect();
    let instance = &instances[chosen];
    instance.configured.policy(&locators).ok_or_else(|| {
        refused(&format!("`{}` has no policies", instance.kind), "what it may read is not granted by a store")
    })
}

fn refused(message: &str, hint: &str) -> Error {
    let mut problems = Problems::default();
    problems.add_with_hint(&Place::CommandLine, message, hint);
    config::error(problems)
}
