//! The privileged side of the socketpair. Every message is treated as hostile, because the worker talks to the network.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use handfast_core::{SecretValue, excerpt};

use super::failures::{of_secret, sum};
use super::interrupts::WorkerWait;
use super::ready::{OUT_OF_ORDER, UNKNOWN_FRAME, header, ready};
use super::socket::{AFTER_COMMIT, Socket, violation};
use crate::cage::Cage;
use crate::deliver::{Arrived, Changes};
use crate::error::{Class, Error, Phase, Result, Subject};
use crate::plan::{Delivery, Plan, Secret, Target, valid_name};
use crate::report::printable;
use crate::worker::frame::{self, FIRST_GENERATION, HEADER, Header, Kind, MAX_BYTES, MAX_VALUES, Report};

const TWICE: &str = "a secret twice";

/// A complete generation, checked against the plan: every secret has an answer.
pub struct Received {
    /// The values.
    pub arrived: Vec<Arrived>,
    /// Optional secrets that do not exist.
    pub missing: Vec<usize>,
    /// Why secrets could not be fetched.
    pub failures: Vec<(usize, Error)>,
    /// How provider instances logged in, by their number: of a worker that only tries.
    pub identities: BTreeMap<usize, String>,
    /// The parts of the worker's cage.
    pub cage: Cage,
}

/// The answer of a worker whose task is a policy.
pub struct Policy {
    /// The policy's text; `None` where the store adds nothing to the configuration.
    pub text: Option<String>,
    /// Why the store's answers that the policy needs could not be fetched.
    pub failures: Vec<Error>,
    /// The parts of the worker's cage.
    pub cage: Cage,
}

/// A message of a worker that lives on.
pub enum Message {
    /// The result of a read of this secret.
    Report(usize, Report),
    /// A generation, or why it cannot be delivered.
    Generation(Result<Changes>),
}

/// Receives the first generation. Returns nothing of it before its commit.
pub fn generation(plan: &Plan, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<Received> {
    let cage = ready(plan, socket, wait)?;
    let receiver = Receiver::new(plan, FIRST_GENERATION).until_commit(None, socket, wait)?;
    let Receiver { arrived, missing, failures, identities, .. } = receiver;
    if failures.is_empty() && !socket.is_empty() {
        return Err(violation(AFTER_COMMIT));
    }
    Ok(Received { arrived, missing, failures, identities, cage })
}

/// Receives the next message of a worker that lives on: a report, or the whole generation of this number.
pub fn message(plan: &Plan, number: u32, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<Message> {
    let mut first = [0; HEADER];
    socket.read(&mut first, wait)?;
    let first = Header::decode(first).ok_or_else(|| violation(UNKNOWN_FRAME))?;
    if first.kind == Kind::Report {
        let (index, _) = secret(plan, first)?;
        let mut payload = vec![0; first.length as usize];
        socket.read(&mut payload, wait)?;
        return Report::decode(&payload)
            .map(|report| Message::Report(index, report))
            .ok_or_else(|| violation(UNKNOWN_FRAME));
    }
    let Receiver { arrived, same, missing: gone, failures, .. } =
        Receiver::new(plan, number).until_commit(Some(first), socket, wait)?;
    if failures.is_empty() {
        return Ok(Message::Generation(Ok(Changes { arrived, same, gone })));
    }
    let failures = failures.into_iter().map(|(_, error)| error).collect();
    Ok(Message::Generation(Err(sum(failures, plan.secrets.len()))))
}

/// Receives a policy. Escapes the control and format characters in it, line breaks excepted.
pub fn policy(plan: &Plan, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<Policy> {
    let mut policy = Policy { cage: ready(plan, socket, wait)?, text: None, failures: Vec::new() };
    let mut failed = BTreeSet::new();
    loop {
        let header = header(FIRST_GENERATION, socket, wait)?;
        match header.kind {
            Kind::Failed if policy.text.is_none() => {
                let (index, error) = failure(plan, header, socket, wait)?;
                if !failed.insert(index) {
                    return Err(violation(TWICE));
                }
                policy.failures.push(error);
            }
            Kind::Policy if policy.text.is_none() && failed.is_empty() && header.secret == 0 => {
                let mut text = vec![0; header.length as usize];
                socket.read(&mut text, wait)?;
                let text = String::from_utf8(text).map_err(|_| violation("a policy that is not UTF-8"))?;
                policy.text = Some(text.split_inclusive('\n').map(printable_line).collect());
            }
            Kind::Commit if header.secret == 0 => return Ok(policy),
            _ => return Err(violation(OUT_OF_ORDER)),
        }
    }
}

fn printable_line(line: &str) -> String {
    match line.strip_suffix('\n') {
        Some(line) => printable(line) + "\n",
        None => printable(line),
    }
}

struct Receiver<'p> {
    plan: &'p Plan,
    /// The generation. The first one holds every secret, a later one those that have changed.
    generation: u32,
    /// Secrets that have an answer; a `#*` has one once the number of its fields is known.
    answered: BTreeSet<usize>,
    /// The number of fields of each `#*` that have not arrived yet.
    awaited: BTreeMap<usize, u32>,
    /// The names of the files so far: two fields must not have the same.
    names: BTreeSet<String>,
    /// Secrets with a field that cannot be a file. Each has one failure, however many such fields it has.
    refused: BTreeSet<usize>,
    arrived: Vec<Arrived>,
    /// Files that stay as they are, in a later generation.
    same: Vec<(usize, String)>,
    missing: Vec<usize>,
    failures: Vec<(usize, Error)>,
    identities: BTreeMap<usize, String>,
    /// The number of values so far, refused ones included.
    values: usize,
    /// The bytes of these values.
    bytes: usize,
}

impl<'p> Receiver<'p> {
    fn new(plan: &'p Plan, generation: u32) -> Self {
        Self {
            plan,
            generation,
            answered: BTreeSet::new(),
            awaited: BTreeMap::new(),
            names: BTreeSet::new(),
            refused: BTreeSet::new(),
            arrived: Vec::new(),
            same: Vec::new(),
            missing: Vec::new(),
            failures: Vec::new(),
            identities: BTreeMap::new(),
            values: 0,
            bytes: 0,
        }
    }

    fn is_first(&self) -> bool {
        self.generation == FIRST_GENERATION
    }

    /// Receives frames until the commit; `first` is the header of the first frame, where it was read already.
    fn until_commit(
        mut self,
        mut first: Option<Header>,
        socket: &mut Socket,
        wait: &mut WorkerWait<'_, '_>,
    ) -> Result<Self> {
        loop {
            let header = match first.take() {
                Some(header) if header.generation == self.generation => header,
                Some(_) => return Err(violation(OUT_OF_ORDER)),
                None => header(self.generation, socket, wait)?,
            };
            match header.kind {
                Kind::Fields => self.fields(header, socket, wait)?,
                Kind::Value => self.value(header, socket, wait)?,
                Kind::Missing => self.missing(header)?,
                Kind::Failed => self.failed(header, socket, wait)?,
                Kind::Identity if self.is_first() => self.identity(header, socket, wait)?,
                Kind::Same if !self.is_first() => self.same(header, socket, wait)?,
                Kind::Commit if header.secret == 0 => return self.commit(),
                _ => return Err(violation(OUT_OF_ORDER)),
            }
        }
    }

    /// Reads the name of a value that has not changed.
    fn same(&mut self, header: Header, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<()> {
        let (index, secret) = secret(self.plan, header)?;
        match self.awaited.get_mut(&index) {
            Some(left) if secret.is_several() && *left > 0 => *left -= 1,
            _ => return Err(violation(TWICE)),
        }
        self.count(0)?;
        let mut name = vec![0; header.length as usize];
        socket.read(&mut name, wait)?;
        let field = String::from_utf8(name).map_err(|_| violation("a name that is not UTF-8"))?;
        let Some(file) = self.plan.file_name(index, Some(&field)) else { return Err(violation(UNKNOWN_FRAME)) };
        match self.take_name(index, secret, &field, &file) {
            Ok(()) => self.same.push((index, file)),
            Err(why) => self.refuse(index, secret, &why),
        }
        Ok(())
    }

    /// Counts one value more.
    fn count(&mut self, bytes: usize) -> Result<()> {
        self.values += 1;
        self.bytes += bytes;
        if self.values > MAX_VALUES || self.bytes > MAX_BYTES { Err(too_much(self.plan)) } else { Ok(()) }
    }

    /// Reads how many fields a `#*` has. Their values follow.
    fn fields(&mut self, header: Header, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<()> {
        let (index, secret) = secret(self.plan, header)?;
        if !secret.is_several() || !self.answered.insert(index) {
            return Err(violation(TWICE));
        }
        let mut count = [0; 4];
        socket.read(&mut count, wait)?;
        let count = u32::from_be_bytes(count);
        // Of an object without fields, no file stays.
        if count == 0 && !self.is_first() {
            self.missing.push(index);
        }
        self.awaited.insert(index, count);
        Ok(())
    }

    fn value(&mut self, header: Header, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<()> {
        let (index, secret) = secret(self.plan, header)?;
        let every = secret.is_several();
        let expected = match self.awaited.get_mut(&index) {
            Some(left) if every && *left > 0 => {
                *left -= 1;
                true
            }
            _ => !every && self.answered.insert(index),
        };
        if !expected {
            return Err(violation(TWICE));
        }
        let mut length = [0; 2];
        socket.read(&mut length, wait)?;
        let name_length = usize::from(u16::from_be_bytes(length));
        let Some(value_length) = (header.length as usize).checked_sub(2 + name_length) else {
            return Err(violation(UNKNOWN_FRAME));
        };
        if name_length > frame::MAX_NAME || value_length > handfast_core::MAX_SECRET || (name_length > 0 && !every) {
            return Err(violation(UNKNOWN_FRAME));
        }
        self.count(value_length)?;
        let mut name = vec![0; name_length];
        socket.read(&mut name, wait)?;
        let value = SecretValue::filled(value_length, |buffer| socket.read(buffer, wait))?;
        let field = String::from_utf8(name).map_err(|_| violation("a name that is not UTF-8"))?;
        let file = self.plan.file_name(index, every.then_some(&field));
        match file.as_deref().map_or(Ok(()), |file| self.take_name(index, secret, &field, file)) {
            Ok(()) => self.arrived.push(Arrived { secret: index, file, value }),
            Err(why) => self.refuse(index, secret, &why),
        }
        Ok(())
    }

    /// Takes the name of a field's file. A field's name comes from the provider, so the file's name may be invalid, or already
    /// taken. The error quotes only a valid name of a field: an invalid one could be any text.
    fn take_name(&mut self, index: usize, secret: &Secret, part: &str, file: &str) -> std::result::Result<(), String> {
        if !valid_name(file) {
            // A store shows the names of secrets to every user who may list them. The name of a field may be a value.
            return Err(match secret.is_list {
                true => format!("the name of its secret `{}` cannot be a file's", excerpt(part).escape_debug()),
                false => "the name of one of its fields cannot be a file's".to_owned(),
            });
        }
        let another = |other: &Delivery| {
            matches!(&other.target, Target::File { name, .. } if name == file) && other.secret != index
        };
        if self.plan.deliveries.iter().any(another) || !self.names.insert(file.to_owned()) {
            return Err(format!("the file `{file}` would be another's too"));
        }
        Ok(())
    }

    fn refuse(&mut self, index: usize, secret: &Secret, why: &str) {
        if !self.refused.insert(index) {
            return;
        }
        let subject = Subject {
            provider: secret.reference.provider.clone(),
            reference: secret.reference.to_string(),
            attempts: 1,
            reason: why.to_owned(),
        };
        let message = format!("cannot deliver `{}` from `{}`: {why}", secret.name, secret.reference);
        let hint = "a file's name has 1 to 128 of `A-Z a-z 0-9 . _ -` and does not start with a dot; `file = \"db-*\"` gives \
                    those of `#*` or a list a prefix";
        let error = Error::new(Phase::Fetch, Class::Malformed, message).about(subject).hint(hint);
        self.failures.push((index, error));
    }

    fn missing(&mut self, header: Header) -> Result<()> {
        let (index, secret) = secret(self.plan, header)?;
        if !secret.optional || !self.answered.insert(index) {
            return Err(violation("a secret twice, or a needed one as missing"));
        }
        let what = if self.is_first() { "was not found" } else { "is gone" };
        tracing::info!(target: "handfast", "the optional secret `{}` {what}: `{}`", secret.name, secret.reference);
        self.missing.push(index);
        Ok(())
    }

    fn failed(&mut self, header: Header, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<()> {
        let failed = failure(self.plan, header, socket, wait)?;
        if !self.answered.insert(failed.0) {
            return Err(violation(TWICE));
        }
        self.failures.push(failed);
        Ok(())
    }

    fn identity(&mut self, header: Header, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<()> {
        let instance = header.secret as usize;
        if !self.plan.secrets.iter().any(|secret| secret.instance == instance) {
            return Err(violation(UNKNOWN_FRAME));
        }
        let mut text = vec![0; header.length as usize];
        socket.read(&mut text, wait)?;
        let text = String::from_utf8(text).map_err(|_| violation("an identity that is not UTF-8"))?;
        match self.identities.insert(instance, printable(&text)) {
            None => Ok(()),
            Some(_) => Err(violation("an identity twice")),
        }
    }

    fn commit(self) -> Result<Self> {
        let has_all = !self.is_first() || self.answered.len() == self.plan.secrets.len();
        if has_all && self.awaited.values().all(|left| *left == 0) {
            return Ok(self);
        }
        Err(violation("a commit before every answer"))
    }
}

/// Reads why a secret could not be fetched.
fn failure(plan: &Plan, header: Header, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<(usize, Error)> {
    let (index, secret) = secret(plan, header)?;
    let mut payload = vec![0; header.length as usize];
    socket.read(&mut payload, wait)?;
    let (kind, attempts, message, hint) = frame::decode_failure(&payload).ok_or_else(|| violation(UNKNOWN_FRAME))?;
    Ok((index, of_secret(secret, kind.into(), attempts, &message, hint)))
}

fn secret(plan: &Plan, header: Header) -> Result<(usize, &Secret)> {
    let index = header.secret as usize;
    plan.secrets.get(index).map(|secret| (index, secret)).ok_or_else(|| violation("a secret that is not in the plan"))
}

fn too_much(plan: &Plan) -> Error {
    let message =
        format!("{} secrets gave more than {MAX_VALUES} values or {} MiB", plan.secrets.len(), MAX_BYTES >> 20);
    Error::new(Phase::Fetch, Class::Malformed, message)
}

#[cfg(test)]
mod tests;
