//! `policy`: the least that the configuration's references need, in their store's own language.
#![forbid(unsafe_code)]

use std::time::Instant;

use handfast_core::{Place, Problems, nearest};

use super::run;
use crate::cli::Options;
use crate::config::{self, Environment};
use crate::error::{Error, Result};
use crate::plan::{Instances, Plan, Purpose};
use crate::worker;

/// The policy for one provider instance. With `online` its store is asked for what the configuration does not say.
pub fn policy(
    options: &Options,
    provider: Option<&str>,
    online: bool,
    mut environment: Environment,
    started: Instant,
) -> Result<String> {
    if online {
        run::begin()?;
    }
    let (plan, instances) = run::make_plan(options, &mut environment, Purpose::Run { command: Vec::new() }, started)?;
    let (plan, instances) = only(choose(&instances, provider)?, plan, instances);
    let nothing_known = vec![0; plan.secrets.len()];
    // Before the store is asked, so that what has no policies is not logged in to.
    let offline = of(&plan, &instances, &nothing_known).ok_or_else(|| without_policies(&instances))?;
    if !online {
        return Ok(offline);
    }
    let (places, instances) = run::ask(&plan, instances, environment, worker::survey)?;
    of(&plan, &instances, &places).ok_or_else(|| without_policies(&instances))
}

/// The instance that is meant, as an index into the plan's.
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
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("in use: {}", in_use()),
            };
            refused(&format!("no secret comes from `{}`", handfast_core::excerpt(name)), &hint)
        }),
    }
}

fn only(chosen: usize, mut plan: Plan, instances: Instances) -> (Plan, Instances) {
    plan.secrets.retain(|secret| secret.instance == chosen);
    (plan, instances.only(chosen))
}

/// The policy of the only instance that is left, with what its store says of each secret's place.
fn of(plan: &Plan, instances: &Instances, places: &[u128]) -> Option<String> {
    let locators = plan.secrets.iter().map(|secret| &secret.reference.locator);
    let wanted: Vec<_> = locators.zip(places.iter().copied()).collect();
    instances.first()?.configured.policy(&wanted)
}

fn without_policies(instances: &Instances) -> Error {
    let kind = instances.first().map_or("", |instance| instance.kind);
    refused(&format!("`{kind}` has no policies"), "what it may read is not granted by a store")
}

fn refused(message: &str, hint: &str) -> Error {
    let mut problems = Problems::default();
    problems.add_with_hint(&Place::CommandLine, message, hint);
    config::error(problems)
}
