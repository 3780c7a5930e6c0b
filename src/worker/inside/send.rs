//! Sends the worker's messages as frames. The frames of a generation are sent together.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use handfast_core::{ErrorKind, ProviderError, SecretValue};

use crate::cage::Cage;
use crate::fetch::{Change, Failure, Notice, Outcome, Piece};
use crate::plan::Plan;
use crate::worker::frame::{self, Batch, FIRST_GENERATION, Kind, MAX_BYTES, MAX_VALUES, Report};

/// Sends that the worker is in its cage.
pub fn ready(cage: Cage, socket: &mut UnixStream) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add(Kind::Ready, FIRST_GENERATION, 0, [Cow::Owned(vec![cage.encode()])])?;
    batch.send(socket)
}

/// Sends in place of [`ready`] that the worker cannot listen at the address for metrics.
pub fn no_listener(error: &io::Error, socket: &mut UnixStream) -> io::Result<()> {
    let number = error.raw_os_error().unwrap_or_default().to_be_bytes().to_vec();
    let mut batch = Batch::default();
    batch.add(Kind::NoListener, FIRST_GENERATION, 0, [Cow::Owned(number)])?;
    batch.send(socket)
}

/// Sends a generation, and how these instances logged in.
pub fn outcomes(
    plan: &Plan,
    outcomes: &[Outcome],
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

/// Sends the results of reads.
pub fn notices(notices: Vec<Notice>, socket: &mut impl Write) -> io::Result<()> {
    let mut batch = Batch::default();
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1);
    for Notice { secret, is_success, needs_restart, next, end } in notices {
        let (next, end) = (next.map(milliseconds), end.map(milliseconds));
        let payload = Report { is_success, needs_restart, next, end }.encode();
        batch.add(Kind::Report, FIRST_GENERATION, secret, [Cow::Owned(payload)])?;
    }
    batch.send(socket)
}

/// Sends a later generation: the changes. Sends a failure instead if the changes are more than the privileged process accepts.
pub fn changes(plan: &Plan, generation: u32, changes: &[(usize, Change)], socket: &mut impl Write) -> io::Result<()> {
    let mut batch = Batch::default();
    if let Some((secret, failure)) = too_large(changes) {
        add_failure(&mut batch, generation, secret, &failure)?;
        batch.add(Kind::Commit, generation, 0, [])?;
        return batch.send(socket);
    }
    for (secret, Change(pieces)) in changes {
        // A needed `#*` without a field is not missing: it has no files, as at the start.
        if pieces.is_empty() && plan.secrets[*secret].optional {
            batch.add(Kind::Missing, generation, *secret, [])?;
            continue;
        }
        if plan.secrets[*secret].is_several() {
            let count = (pieces.len() as u32).to_be_bytes().to_vec();
            batch.add(Kind::Fields, generation, *secret, [Cow::Owned(count)])?;
        }
        for (name, piece) in pieces {
            let name = name_of(name.as_deref());
            match piece {
                Piece::Value(value) => add_value(&mut batch, generation, *secret, name, value)?,
                Piece::Same => batch.add(Kind::Same, generation, *secret, [Cow::Borrowed(name.as_bytes())])?,
            }
        }
    }
    batch.add(Kind::Commit, generation, 0, [])?;
    batch.send(socket)
}

/// Why these changes are more than one generation holds, with the secret that has the most values.
fn too_large(changes: &[(usize, Change)]) -> Option<(usize, Failure)> {
    let values = changes.iter().map(|(_, Change(pieces))| pieces.len()).sum::<usize>();
    let length = |(_, piece): &(_, Piece)| match piece {
        Piece::Value(value) => value.len(),
        Piece::Same => 0,
    };
    let bytes = changes.iter().flat_map(|(_, Change(pieces))| pieces.iter().map(length)).sum::<usize>();
    let (secret, _) = changes.iter().max_by_key(|(_, Change(pieces))| pieces.len())?;
    let most = format!("{MAX_VALUES} values and {} MiB", MAX_BYTES >> 20);
    let message =
        format!("what has changed is {values} values and {bytes} bytes, and a set takes at most {most} of it");
    let error = ProviderError::new(ErrorKind::Malformed, message);
    (values > MAX_VALUES || bytes > MAX_BYTES).then_some((*secret, Failure { error, attempts: 1 }))
}

/// The same outcomes with empty values: no value leaves a worker that only tries to fetch.
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
            failures
                .iter()
                .try_for_each(|(secret, failure)| add_failure(&mut batch, FIRST_GENERATION, *secret, failure))?;
        }
    }
    batch.add(Kind::Commit, FIRST_GENERATION, 0, [])?;
    batch.send(socket)
}

fn add<'o>(batch: &mut Batch<'o>, plan: &Plan, outcome: &'o Outcome) -> io::Result<()> {
    let Outcome { secret, ref result, .. } = *outcome;
    let planned = &plan.secrets[secret];
    let parts = match result {
        Ok(parts) => parts,
        Err(failure) if failure.is_absence(planned) => {
            return batch.add(Kind::Missing, FIRST_GENERATION, secret, []);
        }
        Err(failure) => return add_failure(batch, FIRST_GENERATION, secret, failure),
    };
    if planned.is_several() || parts.iter().any(|part| part.name.is_some()) {
        let count = (parts.len() as u32).to_be_bytes().to_vec();
        batch.add(Kind::Fields, FIRST_GENERATION, secret, [Cow::Owned(count)])?;
    }
    for part in parts {
        add_value(batch, FIRST_GENERATION, secret, name_of(part.name.as_deref()), &part.value)?;
    }
    Ok(())
}

fn add_value<'v>(
    batch: &mut Batch<'v>,
    generation: u32,
    secret: usize,
    name: &'v str,
    value: &'v SecretValue,
) -> io::Result<()> {
    let length = Cow::Owned((name.len() as u16).to_be_bytes().to_vec());
    let (name, value) = (Cow::Borrowed(name.as_bytes()), Cow::Borrowed(value.expose()));
    batch.add(Kind::Value, generation, secret, [length, name, value])
}

fn name_of(name: Option<&str>) -> &str {
    let name = name.unwrap_or_default();
    &name[..name.floor_char_boundary(frame::MAX_NAME)]
}

fn add_failure(
    batch: &mut Batch<'_>,
    generation: u32,
    secret: usize,
    Failure { error, attempts }: &Failure,
) -> io::Result<()> {
    let payload = frame::encode_failure(error.kind, *attempts, &error.message, error.hint.as_deref());
    batch.add(Kind::Failed, generation, secret, [Cow::Owned(payload)])
}
