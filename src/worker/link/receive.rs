//! The privileged side of the socketpair. What comes through it is treated as hostile: the worker talks to the network.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use handfast_core::SecretValue;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::LAST_WORDS;
use super::failures::class;
use super::watch::WorkerWatch;
use crate::cage::{Cage, system};
use crate::deliver::Arrived;
use crate::error::{Class, Error, Phase, Result, Subject};
use crate::fetch::Aim;
use crate::plan::{Delivery, Plan, Secret, Target, valid_name};
use crate::worker::Undo;
use crate::worker::frame::{self, HEADER, Header, Kind};

/// No more values than this in one generation.
const MAX_VALUES: usize = 4096;

/// No more bytes of values than this in one generation.
const MAX_BYTES: usize = 64 << 20;

const AFTER_COMMIT: &str = "something after its commit";

/// What the worker sent, checked against the plan. Each secret is in one of these.
pub struct Received {
    /// The values.
    pub arrived: Vec<Arrived>,
    /// Optional secrets that do not exist.
    pub missing: Vec<usize>,
    /// What the stores say of the secrets' places.
    pub places: Vec<(usize, u128)>,
    /// Why secrets could not be fetched.
    pub failures: Vec<(usize, Error)>,
    /// What the worker's cage is made of.
    pub cage: Cage,
}

/// Receives one generation. Everything is held back until its commit, but for what goes into `undo`: that is needed where
/// the rest cannot be used.
pub fn generation(
    aim: Aim,
    plan: &Plan,
    undo: &mut Undo,
    socket: &UnixStream,
    watch: &mut WorkerWatch<'_, '_>,
) -> Result<Received> {
    let mut receiver = Receiver {
        aim,
        plan,
        answered: BTreeSet::new(),
        awaited: BTreeMap::new(),
        names: BTreeSet::new(),
        refused: BTreeSet::new(),
        arrived: Vec::new(),
        missing: Vec::new(),
        places: Vec::new(),
        failures: Vec::new(),
        values: 0,
        bytes: 0,
        cage: None,
    };
    let mut socket = Reader::new(socket);
    loop {
        let mut header = [0; HEADER];
        socket.read(&mut header, watch)?;
        let header = Header::decode(header).ok_or_else(|| lie("a frame that does not exist"))?;
        let about_none = matches!(header.kind, Kind::Ready | Kind::Commit);
        let answers_another_question = match header.kind {
            Kind::Place => !matches!(aim, Aim::Survey(_)),
            Kind::Value | Kind::Fields | Kind::Missing => matches!(aim, Aim::Survey(_)),
            Kind::GiveBack => aim != Aim::Use,
            Kind::Ready | Kind::Failed | Kind::Commit => false,
        };
        if header.generation != frame::FIRST_GENERATION
            || (receiver.cage.is_none() && header.kind != Kind::Ready)
            || (about_none && header.secret != 0)
            || answers_another_question
        {
            return Err(lie("a frame out of order"));
        }
        match header.kind {
            Kind::Ready if receiver.cage.is_some() => return Err(lie("a frame out of order")),
            Kind::Ready => {
                let mut parts = [0];
                socket.read(&mut parts, watch)?;
                receiver.cage = Some(Cage::decode(parts[0]));
            }
            Kind::Fields => receiver.fields(header, &mut socket, watch)?,
            Kind::Value => receiver.value(header, &mut socket, watch)?,
            Kind::Missing => receiver.missing(header)?,
            Kind::Failed => receiver.failed(header, &mut socket, watch)?,
            Kind::GiveBack => {
                let bytes = SecretValue::filled(header.length as usize, |buffer| socket.read(buffer, watch))?;
                if !undo.take(header.secret as usize, bytes) {
                    return Err(lie("what to undo twice, or of an instance that is not in the plan"));
                }
            }
            Kind::Place => receiver.place(header, &mut socket, watch)?,
            Kind::Commit => {
                let received = receiver.commit()?;
                if received.failures.is_empty() && !socket.is_empty() {
                    return Err(lie(AFTER_COMMIT));
                }
                // What the stores refused is told in any case. Till then the worker drops what the others gave, and so wipes it.
                if !received.failures.is_empty() {
                    watch.hurry(LAST_WORDS);
                    if let Err(error) = end(socket.socket, watch) {
                        handfast_core::debug!("after its failures: {}", error.message);
                    }
                }
                return Ok(received);
            }
        }
    }
}

/// Waits until a worker whose commit has arrived closes its socket: nothing may come any more.
pub fn end(socket: &UnixStream, watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
    match receive(socket, &mut [0], watch)? {
        0 => Ok(()),
        _ => Err(lie(AFTER_COMMIT)),
    }
}

struct Receiver<'p> {
    aim: Aim,
    plan: &'p Plan,
    /// Secrets that are answered, for `#*` by how many fields it has.
    answered: BTreeSet<usize>,
    /// How many fields of a `#*` are still to come.
    awaited: BTreeMap<usize, u32>,
    /// The files so far: two fields must not give one name.
    names: BTreeSet<String>,
    /// Secrets one of whose fields cannot be a file: one failure each, however many such fields come.
    refused: BTreeSet<usize>,
    arrived: Vec<Arrived>,
    missing: Vec<usize>,
    places: Vec<(usize, u128)>,
    failures: Vec<(usize, Error)>,
    /// Values so far, also refused ones.
    values: usize,
    /// Their bytes.
    bytes: usize,
    cage: Option<Cage>,
}

impl Receiver<'_> {
    /// How many fields a `#*` has: its values follow.
    fn fields(&mut self, header: Header, socket: &mut Reader<'_>, watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
        let (index, secret) = secret(self.plan, header)?;
        if !secret.is_several() || !self.answered.insert(index) {
            return Err(lie("a secret twice"));
        }
        let mut count = [0; 4];
        socket.read(&mut count, watch)?;
        self.awaited.insert(index, u32::from_be_bytes(count));
        Ok(())
    }

    fn value(&mut self, header: Header, socket: &mut Reader<'_>, watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
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
            return Err(lie("a secret twice"));
        }
        let mut length = [0; 2];
        socket.read(&mut length, watch)?;
        let name_length = usize::from(u16::from_be_bytes(length));
        let Some(value_length) = (header.length as usize).checked_sub(2 + name_length) else {
            return Err(lie("a frame that does not exist"));
        };
        if name_length > frame::MAX_NAME || value_length > self.longest_value() || (name_length > 0 && !every) {
            return Err(lie("a frame that does not exist"));
        }
        self.values += 1;
        self.bytes += value_length;
        if self.values > MAX_VALUES || self.bytes > MAX_BYTES {
            return Err(too_much(self.plan));
        }
        let mut name = vec![0; name_length];
        socket.read(&mut name, watch)?;
        let value = SecretValue::filled(value_length, |buffer| socket.read(buffer, watch))?;
        let field = String::from_utf8(name).map_err(|_| lie("a name that is not UTF-8"))?;
        let file = self.plan.file_name(index, every.then_some(&field));
        match file.as_deref().map_or(Ok(()), |file| self.take_name(index, secret, file)) {
            Ok(()) => self.arrived.push(Arrived { secret: index, file, value }),
            Err(why) => self.refuse(index, secret, &why),
        }
        Ok(())
    }

    /// What is only tried stays in the worker.
    fn longest_value(&self) -> usize {
        if self.aim == Aim::Use { handfast_core::MAX_SECRET } else { 0 }
    }

    /// A field's name comes from the provider: with it, the file's name must still be one, and no other's. The error says
    /// why not, and quotes nothing that could be more than a name.
    fn take_name(&mut self, index: usize, secret: &Secret, file: &str) -> std::result::Result<(), String> {
        if !valid_name(file) {
            let parts = if secret.is_list { "secrets" } else { "fields" };
            return Err(format!("the name of one of its {parts} cannot be a file's"));
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
            return Err(lie("a secret twice, or a needed one as missing"));
        }
        tracing::info!(target: "handfast", "the optional secret `{}` was not found: `{}`", secret.name, secret.reference);
        self.missing.push(index);
        Ok(())
    }

    fn place(&mut self, header: Header, socket: &mut Reader<'_>, watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
        let (index, _) = secret(self.plan, header)?;
        if !self.answered.insert(index) {
            return Err(lie("a secret twice"));
        }
        let mut place = [0; 16];
        socket.read(&mut place, watch)?;
        self.places.push((index, u128::from_be_bytes(place)));
        Ok(())
    }

    fn failed(&mut self, header: Header, socket: &mut Reader<'_>, watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
        let (index, secret) = secret(self.plan, header)?;
        if !self.answered.insert(index) {
            return Err(lie("a secret twice"));
        }
        let mut payload = vec![0; header.length as usize];
        socket.read(&mut payload, watch)?;
        let (kind, attempts, message, hint) =
            frame::decode_failure(&payload).ok_or_else(|| lie("a frame that does not exist"))?;
        let tries = if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
        let (provider, reference) = (secret.reference.provider.clone(), secret.reference.to_string());
        let reason = format!("{message}{tries}");
        let message = format!("cannot fetch `{}` from `{reference}`: {reason}", secret.name);
        let subject = Subject { provider, reference, attempts, reason };
        let mut error = Error::new(Phase::Fetch, class(kind), message).about(subject);
        error.hint = hint;
        self.failures.push((index, error));
        Ok(())
    }

    fn commit(self) -> Result<Received> {
        let mut secrets = self.plan.secrets.iter().enumerate();
        let complete = secrets.all(|(index, secret)| !self.aim.asks(secret) || self.answered.contains(&index))
            && self.awaited.values().all(|left| *left == 0);
        if !complete {
            return Err(lie("a commit before every answer"));
        }
        let Self { arrived, missing, places, failures, cage, .. } = self;
        Ok(Received { arrived, missing, places, failures, cage: cage.unwrap_or_default() })
    }
}

fn secret(plan: &Plan, header: Header) -> Result<(usize, &Secret)> {
    let index = header.secret as usize;
    plan.secrets.get(index).map(|secret| (index, secret)).ok_or_else(|| lie("a secret that is not in the plan"))
}

fn too_much(plan: &Plan) -> Error {
    let message =
        format!("{} secrets gave more than {MAX_VALUES} values or {} MiB", plan.secrets.len(), MAX_BYTES >> 20);
    Error::new(Phase::Fetch, Class::Malformed, message)
}

fn lie(what: &str) -> Error {
    Error::new(Phase::Fetch, Class::Internal, format!("the worker sent {what}"))
}

/// Reads ahead, so that small frames do not cost several calls each.
struct Reader<'s> {
    socket: &'s UnixStream,
    /// What has been read and not yet asked for, from `start` to `end`. The allocator wipes it in the end.
    ahead: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'s> Reader<'s> {
    /// Bytes that are read ahead, at most: enough for dozens of usual secrets.
    const AHEAD: usize = 2048;

    fn new(socket: &'s UnixStream) -> Self {
        Self { socket, ahead: vec![0; Self::AHEAD], start: 0, end: 0 }
    }

    /// Nothing has been read that nobody has asked for.
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Fills the buffer, minding signals and the deadline.
    fn read(&mut self, mut buffer: &mut [u8], watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
        while !buffer.is_empty() {
            if !self.is_empty() {
                let count = buffer.len().min(self.end - self.start);
                let (now, later) = buffer.split_at_mut(count);
                now.copy_from_slice(&self.ahead[self.start..self.start + count]);
                self.start += count;
                buffer = later;
            } else if buffer.len() >= Self::AHEAD {
                let count = some(receive(self.socket, buffer, watch)?, watch)?;
                buffer = &mut buffer[count..];
            } else {
                (self.start, self.end) = (0, some(receive(self.socket, &mut self.ahead, watch)?, watch)?);
            }
        }
        Ok(())
    }
}

/// The count, where it is one: a worker that has closed its end in the middle of a frame has ended too early.
fn some(count: usize, watch: &mut WorkerWatch<'_, '_>) -> Result<usize> {
    if count == 0 { Err(watch.worker_ended()) } else { Ok(count) }
}

/// Receives what has come; nothing where the worker has closed its end. Signals and the deadline are asked for each time, so that a
/// worker which never pauses cannot outlive them. Nothing here blocks but the wait that minds them.
fn receive(socket: &UnixStream, buffer: &mut [u8], watch: &mut WorkerWatch<'_, '_>) -> Result<usize> {
    loop {
        watch.until_readable(socket.as_fd())?;
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(count) => return Ok(count),
            Err(Errno::EINTR) => {}
            // Nobody else reads here: what is there and cannot be read is out of band (MSG_OOB), which no worker of ours sends.
            Err(Errno::EAGAIN) => return Err(lie("something out of band")),
            // It was gone before it had read all that we sent, which is nothing so far.
            Err(Errno::ECONNRESET) => return Err(watch.worker_ended()),
            Err(error) => return Err(system("read what the worker sent", error)),
        }
    }
}

#[cfg(test)]
mod tests;
