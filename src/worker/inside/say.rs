//! The worker's messages: frames. Those of a generation are sent all at once.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io;
use std::os::unix::net::UnixStream;

use handfast_core::SecretValue;

use crate::cage::Cage;
use crate::fetch::{Failure, Outcome};
use crate::plan::Plan;
use crate::worker::frame::{self, Batch, FIRST_GENERATION, Kind};

/// Says that the worker is sandboxed.
pub fn ready(cage: Cage, socket: &mut UnixStream) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add(Kind::Ready, FIRST_GENERATION, 0, [Cow::Owned(vec![cage.encode()])])?;
    batch.send(socket)
}

/// Sends a generation, and how these instances logged in.
pub fn outcomes(
    plan: &Plan,
    outcomes: Vec<Outcome>,
    identities: &[(usize, String)],
    socket: &mut UnixStream,
) -> io::Result<()> {
    let mut batch = Batch::default();
    for (instance, identity) in identities.iter().filter(|(_, identity)| !identity.is_empty()) {
        let text = Cow::Borrowed(frame::cut(identity).as_bytes());
        batch.add(Kind::Identity, FIRST_GENERATION, *instance, [text])?;
    }
    outcomes.iter().try_for_each(|outcome| add(&mut batch, plan, outcome))?;
    batch.add(Kind::Commit, FIRST_GENERATION, 0, [])?;
    batch.send(socket)
}

/// The same outcomes with empty values: of a secret that is only tried, only the name leaves the worker.
pub fn without_values(mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let parts = outcomes.iter_mut().flat_map(|outcome| outcome.result.iter_mut().flatten());
    parts.for_each(|part| part.value = SecretValue::from(Vec::new()));
    outcomes
}

/// Sends a policy, or the failures of the secrets for which it could not be made.
pub fn policy(rendered: Result<Option<String>, Vec<(usize, Failure)>>, socket: &mut UnixStream) -> io::Result<()> {
    let mut batch = Batch::default();
    match &rendered {
        Ok(Some(text)) => batch.add(Kind::Policy, FIRST_GENERATION, 0, [Cow::Borrowed(text.as_bytes())])?,
        Ok(None) => {}
        Err(failures) => {
            failures.iter().try_for_each(|(secret, failure)| add_failure(&mut batch, *secret, failure))?;
        }
    }
    batch.add(Kind::Commit, FIRST_GENERATION, 0, [])?;
    batch.send(socket)
}

fn add<'o>(batch: &mut Batch<'o>, plan: &Plan, outcome: &'o Outcome) -> io::Result<()> {
    let Outcome { secret, ref result } = *outcome;
    let planned = &plan.secrets[secret];
    let parts = match result {
        Ok(parts) => parts,
        Err(failure) if failure.is_absence(planned) => {
            return batch.add(Kind::Missing, FIRST_GENERATION, secret, []);
        }
        Err(failure) => return add_failure(batch, secret, failure),
    };
    if planned.is_several() || parts.iter().any(|part| part.name.is_some()) {
        let count = (parts.len() as u32).to_be_bytes().to_vec();
        batch.add(Kind::Fields, FIRST_GENERATION, secret, [Cow::Owned(count)])?;
    }
    for part in parts {
        let name = part.name.as_deref().unwrap_or_default();
        let name = &name[..name.floor_char_boundary(frame::MAX_NAME)];
        let length = Cow::Owned((name.len() as u16).to_be_bytes().to_vec());
        let (name, value) = (Cow::Borrowed(name.as_bytes()), Cow::Borrowed(part.value.expose()));
        batch.add(Kind::Value, FIRST_GENERATION, secret, [length, name, value])?;
    }
    Ok(())
}

fn add_failure(batch: &mut Batch<'_>, secret: usize, Failure { error, attempts }: &Failure) -> io::Result<()> {
    let payload = frame::encode_failure(error.kind, *attempts, &error.message, error.hint.as_deref());
    batch.add(Kind::Failed, FIRST_GENERATION, secret, [Cow::Owned(payload)])
}
