//! `policy`: the least that the configuration's references need, in their store's own language.
#![forbid(unsafe_code)]

use std::time::Instant;

use handfast_core::{Place, Problems, nearest};

use super::start;
use crate::cli::Options;
use crate::config::{self, Environment};
use crate::error::{Error, Result};
use crate::lockdown;
use crate::plan::{Plan, Purpose};
use crate::worker::{self, Watch};

/// The policy for one provider instance. With `online` its store is asked for what the configuration does not say.
pub fn policy(
    options: &Options,
    provider: Option<&str>,
    online: bool,
    mut environment: Environment,
    started: Instant,
) -> Result<String> {
    if online {
        start::begin()?;
    }
    let mut plan = start::make_plan(options, &mut environment, Purpose::Run { command: Vec::new() }, started)?;
    keep_only(choose(&plan, provider)?, &mut plan);
    // Before the store is asked, so that what has no policies is not logged in to.
    let offline = of(&plan).ok_or_else(|| without_policies(&plan))?;
    if !online {
        return Ok(offline);
    }
    lockdown::close_inherited(&[])?;
    let instances = std::mem::take(&mut plan.instances);
    let signals = start::signals()?;
    let told = worker::policy(0, &plan, instances, environment, &Watch::new(&signals))?;
    Ok(told.unwrap_or(offline))
}

/// The instance that is meant, as an index into the plan's.
fn choose(plan: &Plan, provider: Option<&str>) -> Result<usize> {
    let names = || plan.instances.iter().map(|instance| instance.name.as_str());
    let in_use = || names().collect::<Vec<_>>().join(", ");
    match (provider, plan.instances.len()) {
        (_, 0) => Err(refused("no secret comes from a provider", "a policy grants what the references need")),
        (None, 1) => Ok(0),
        (None, several) => {
            let hint = format!("name one after `policy`: {}", in_use());
            Err(refused(&format!("the secrets come from {several} providers, and each has policies of its own"), &hint))
        }
        (Some(name), _) => names().position(|known| known == name).ok_or_else(|| {
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("in use: {}", in_use()),
            };
            refused(&format!("no secret comes from `{}`", handfast_core::excerpt(name)), &hint)
        }),
    }
}

fn keep_only(chosen: usize, plan: &mut Plan) {
    plan.instances = vec![plan.instances.swap_remove(chosen)];
    plan.secrets.retain(|secret| secret.instance == chosen);
    plan.secrets.iter_mut().for_each(|secret| secret.instance = 0);
}

/// The policy of the only instance that is left, from the configuration alone.
fn of(plan: &Plan) -> Option<String> {
    let locators: Vec<_> = plan.secrets.iter().map(|secret| &secret.reference.locator).collect();
    plan.instances.first()?.configured.policy(&locators)
}

fn without_policies(plan: &Plan) -> Error {
    let kind = plan.instances.first().map_or("", |instance| instance.kind);
    refused(&format!("`{kind}` has no policies"), "what it may read is not granted by a store")
}

fn refused(message: &str, hint: &str) -> Error {
    let mut problems = Problems::default();
    problems.add_with_hint(&Place::CommandLine, message, hint);
    config::error(problems)
}
