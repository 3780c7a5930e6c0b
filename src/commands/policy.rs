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
    let (plan, instances) = run::make_plan(options, &mut environment, Purpose::Run, started)?;
    let chosen = choose(&instances, provider)?;
    // Before the store is asked, so that handfast does not log in to a store that has no policies.
    let offline = of(chosen, &plan, &instances, &vec![0; plan.secrets.len()])?;
    if !online {
        return Ok(offline);
    }
    let (places, instances) = run::ask(|watch| worker::survey(&plan, chosen, instances, environment, watch))?;
    of(chosen, &plan, &instances, &places)
}

/// The number of the instance that is meant.
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

/// The policy of an instance, with what its store says of each secret's place.
fn of(chosen: usize, plan: &Plan, instances: &Instances, places: &[u128]) -> Result<String> {
    let secrets = plan.secrets.iter().zip(places).filter(|(secret, _)| secret.instance == chosen);
    let locators: Vec<_> = secrets.map(|(secret, place)| (&secret.reference.locator, *place)).collect();
    let instance = instances.iter().find(|instance| instance.index == chosen);
    instance.and_then(|instance| instance.configured.policy(&locators)).ok_or_else(|| {
        let kind = instance.map_or("", |instance| instance.kind);
        refused(&format!("`{kind}` has no policies"), "what it may read is not granted by a store")
    })
}

fn refused(message: &str, hint: &str) -> Error {
    let mut problems = Problems::default();
    problems.add_with_hint(&Place::CommandLine, message, hint);
    config::error(problems)
}
