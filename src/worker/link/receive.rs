//! The privileged side of the socketpair. What comes through it is treated as hostile: the worker talks to the network.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use handfast_core::{SecretValue, excerpt};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::failures::class;
use super::watch::WorkerWatch;
use crate::cage::{Cage, system};
use crate::deliver::Arrived;
use crate::error::{Class, Error, Phase, Result, Subject};
use crate::plan::{Delivery, Plan, Secret, Target, valid_name};
use crate::report::printable;
use crate::worker::frame::{self, FIRST_GENERATION, HEADER, Header, Kind};

/// No more values than this in one generation.
const MAX_VALUES: usize = 4096;

/// No more bytes of values than this in one generation.
const MAX_BYTES: usize = 64 << 20;

const AFTER_COMMIT: &str = "something after its commit";
const OUT_OF_ORDER: &str = "a frame out of order";
const NONSENSE: &str = "a frame that does not exist";
const TWICE: &str = "a secret twice";

/// A generation, checked against the plan. Each secret is in one of these.
pub struct Received {
    /// The values.
    pub arrived: Vec<Arrived>,
    /// Optional secrets that do not exist.
    pub missing: Vec<usize>,
    /// Why secrets could not be fetched.
    pub failures: Vec<(usize, Error)>,
    /// What the worker's cage is made of.
    pub cage: Cage,
}

/// A policy, where the worker was asked for one.
pub struct Policy {
    /// Its text, where the store told more than the configuration.
    pub text: Option<String>,
    /// Why what it depends on could not be had.
    pub failures: Vec<Error>,
    /// What the worker's cage is made of.
    pub cage: Cage,
}

/// Receives one generation. Everything is held back until its commit.
pub fn generation(plan: &Plan, socket: &mut Socket, watch: &mut WorkerWatch<'_, '_>) -> Result<Received> {
    let cage = ready(socket, watch)?;
    let mut receiver = Receiver {
        plan,
        answered: BTreeSet::new(),
        awaited: BTreeMap::new(),
        names: BTreeSet::new(),
        refused: BTreeSet::new(),
        arrived: Vec::new(),
        missing: Vec::new(),
        failures: Vec::new(),
        values: 0,
        bytes: 0,
    };
    loop {
        let header = header(socket, watch)?;
        match header.kind {
            Kind::Fields => receiver.fields(header, socket, watch)?,
            Kind::Value => receiver.value(header, socket, watch)?,
            Kind::Missing => receiver.missing(header)?,
            Kind::Failed => receiver.failed(header, socket, watch)?,
            Kind::Commit if header.secret == 0 => {
                let received = receiver.commit(cage)?;
                if received.failures.is_empty() && !socket.is_empty() {
                    return Err(lie(AFTER_COMMIT));
                }
                return Ok(received);
            }
            Kind::Ready | Kind::Policy | Kind::Commit => return Err(lie(OUT_OF_ORDER)),
        }
    }
}

/// Receives a policy: a text of which no character does anything but be read.
pub fn policy(plan: &Plan, socket: &mut Socket, watch: &mut WorkerWatch<'_, '_>) -> Result<Policy> {
    let mut policy = Policy { cage: ready(socket, watch)?, text: None, failures: Vec::new() };
    let mut failed = BTreeSet::new();
    loop {
        let header = header(socket, watch)?;
        match header.kind {
            Kind::Failed if policy.text.is_none() => {
                let (index, error) = failure(plan, header, socket, watch)?;
                if !failed.insert(index) {
                    return Err(lie(TWICE));
                }
                policy.failures.push(error);
            }
            Kind::Policy if policy.text.is_none() && failed.is_empty() && header.secret == 0 => {
                let mut text = vec![0; header.length as usize];
                socket.read(&mut text, watch)?;
                let text = String::from_utf8(text).map_err(|_| lie("a policy that is not UTF-8"))?;
                policy.text = Some(text.split_inclusive('\n').map(printable_line).collect());
            }
            Kind::Commit if header.secret == 0 => return Ok(policy),
            _ => return Err(lie(OUT_OF_ORDER)),
        }
    }
}

fn printable_line(line: &str) -> String {
    match line.strip_suffix('\n') {
        Some(line) => printable(line) + "\n",
        None => printable(line),
    }
}

/// Waits until a worker that has said all closes its socket: nothing may come any more.
pub fn end(socket: &mut Socket, watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
    if !socket.is_empty() || receive(&socket.stream, &mut [0], watch)? != 0 {
        return Err(lie(AFTER_COMMIT));
    }
    Ok(())
}

/// The first frame: the cage stands.
fn ready(socket: &mut Socket, watch: &mut WorkerWatch<'_, '_>) -> Result<Cage> {
    let header = header(socket, watch)?;
    if header.kind != Kind::Ready || header.secret != 0 {
        return Err(lie(OUT_OF_ORDER));
    }
    let mut parts = [0];
    socket.read(&mut parts, watch)?;
    Ok(Cage::decode(parts[0]))
}

fn header(socket: &mut Socket, watch: &mut WorkerWatch<'_, '_>) -> Result<Header> {
    let mut header = [0; HEADER];
    socket.read(&mut header, watch)?;
    let header = Header::decode(header).ok_or_else(|| lie(NONSENSE))?;
    if header.generation == FIRST_GENERATION { Ok(header) } else { Err(lie(OUT_OF_ORDER)) }
}

struct Receiver<'p> {
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
    failures: Vec<(usize, Error)>,
    /// Values so far, also refused ones.
    values: usize,
    /// Their bytes.
    bytes: usize,
}

impl Receiver<'_> {
    /// How many fields a `#*` has: its values follow.
    fn fields(&mut self, header: Header, socket: &mut Socket, watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
        let (index, secret) = secret(self.plan, header)?;
        if !secret.is_several() || !self.answered.insert(index) {
            return Err(lie(TWICE));
        }
        let mut count = [0; 4];
        socket.read(&mut count, watch)?;
        self.awaited.insert(index, u32::from_be_bytes(count));
        Ok(())
    }

    fn value(&mut self, header: Header, socket: &mut Socket, watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
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
            return Err(lie(TWICE));
        }
        let mut length = [0; 2];
        socket.read(&mut length, watch)?;
        let name_length = usize::from(u16::from_be_bytes(length));
        let Some(value_length) = (header.length as usize).checked_sub(2 + name_length) else {
            return Err(lie(NONSENSE));
        };
        if name_length > frame::MAX_NAME || value_length > handfast_core::MAX_SECRET || (name_length > 0 && !every) {
            return Err(lie(NONSENSE));
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
        match file.as_deref().map_or(Ok(()), |file| self.take_name(index, secret, &field, file)) {
            Ok(()) => self.arrived.push(Arrived { secret: index, file, value }),
            Err(why) => self.refuse(index, secret, &why),
        }
        Ok(())
    }

    /// A field's name comes from the provider: with it, the file's name must still be one, and no other's. The error says
    /// why not, and quotes nothing that could be more than a name.
    fn take_name(&mut self, index: usize, secret: &Secret, part: &str, file: &str) -> std::result::Result<(), String> {
        if !valid_name(file) {
            // A store shows the names of secrets to whoever may list them; what stands as a field's name may be a value.
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
            return Err(lie("a secret twice, or a needed one as missing"));
        }
        tracing::info!(target: "handfast", "the optional secret `{}` was not found: `{}`", secret.name, secret.reference);
        self.missing.push(index);
        Ok(())
    }

    fn failed(&mut self, header: Header, socket: &mut Socket, watch: &mut WorkerWatch<'_, '_>) -> Result<()> {
        let failed = failure(self.plan, header, socket, watch)?;
        if !self.answered.insert(failed.0) {
            return Err(lie(TWICE));
        }
        self.failures.push(failed);
        Ok(())
    }

    fn commit(self, cage: Cage) -> Result<Received> {
        let complete = self.answered.len() == self.plan.secrets.len() && self.awaited.values().all(|left| *left == 0);
        if !complete {
            return Err(lie("a commit before every answer"));
        }
        let Self { arrived, missing, failures, .. } = self;
        Ok(Received { arrived, missing, failures, cage })
    }
}

/// Why a secret could not be fetched.
fn failure(
    plan: &Plan,
    header: Header,
    socket: &mut Socket,
    watch: &mut WorkerWatch<'_, '_>,
) -> Result<(usize, Error)> {
    let (index, secret) = secret(plan, header)?;
    let mut payload = vec![0; header.length as usize];
    socket.read(&mut payload, watch)?;
    let (kind, attempts, message, hint) = frame::decode_failure(&payload).ok_or_else(|| lie(NONSENSE))?;
    let tries = if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
    let (provider, reference) = (secret.reference.provider.clone(), secret.reference.to_string());
    let reason = format!("{message}{tries}");
    let message = format!("cannot fetch `{}` from `{reference}`: {reason}", secret.name);
    let subject = Subject { provider, reference, attempts, reason };
    let mut error = Error::new(Phase::Fetch, class(kind), message).about(subject);
    error.hint = hint;
    Ok((index, error))
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

/// Our end of the socketpair. Reads ahead, so that small frames do not cost several calls each.
pub struct Socket {
    stream: UnixStream,
    /// What has been read and not yet asked for, from `start` to `end`. The allocator wipes it in the end.
    ahead: Vec<u8>,
    start: usize,
    end: usize,
}

impl Socket {
    /// Bytes that are read ahead, at most: enough for dozens of usual secrets.
    const AHEAD: usize = 2048;

    /// Nothing has been read so far.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, ahead: vec![0; Self::AHEAD], start: 0, end: 0 }
    }

    /// The end itself.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
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
                let count = some(receive(&self.stream, buffer, watch)?, watch)?;
                buffer = &mut buffer[count..];
            } else {
                (self.start, self.end) = (0, some(receive(&self.stream, &mut self.ahead, watch)?, watch)?);
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
