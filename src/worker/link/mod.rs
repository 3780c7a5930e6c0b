//! The privileged side of a worker: its fork, the exchange with it, and its end.
#![forbid(unsafe_code)]

mod failures;
mod interrupts;
mod keep;
mod ready;
mod receive;
mod socket;

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::Pid;

pub use failures::sum;
pub use interrupts::Interrupts;
pub use receive::Message;

use super::frame::{BEGIN, BEGIN_ONCE, DELIVERED, FIRST_GENERATION, NOT_DELIVERED};
use super::inside::{self, Task};
use crate::cage::{self, End, Forked, Processors, Worker, ended, system};
use crate::config::Environment;
use crate::deliver::Arrived;
use crate::error::{Class, Error, Phase, Result};
use crate::fetch::EarlierValues;
use crate::plan::{Instances, Plan};
use interrupts::WorkerWait;
use receive::{Policy, Received};
use socket::Socket;

/// How long after the deadline the worker may still take to report that the deadline has passed.
const LAST_WORDS: Duration = Duration::from_millis(800);

/// How long a worker may take to close its connections and to revoke credentials: longer than the worker's own limit.
const LETTING_GO: Duration = Duration::from_millis(2500);

/// A worker, as the privileged process sees it. Dropped without [`end`](Self::end), it tells the worker that nothing was delivered.
pub struct Link {
    /// `None` once the worker has ended. A worker that talks to no store ends after its commit: it has nothing to revoke.
    open: Option<Open>,
    deadline: Instant,
    /// The worker talks to stores, or lives on: after its commit it waits to learn what became of its secrets.
    has_stores: bool,
    /// The worker has sent its last message, and its end is still to be waited for.
    is_ending: bool,
    /// The number of the last generation that the worker has sent.
    generation: u32,
    /// How many orders to read again the worker got since its last message.
    unanswered: u32,
}

struct Open {
    /// Goes first: it ends the worker before the socket does.
    worker: Worker,
    socket: Socket,
}

impl Link {
    /// Forks a worker, which enters its cage and waits. The instances and the environment are moved into the worker: this process
    /// drops its copies, with their credentials and `mock` secrets, right after the fork.
    pub fn start(task: Task, plan: &Plan, instances: Instances, environment: Environment) -> Result<Self> {
        Self::start_after(None, task, plan, instances, environment)
    }

    /// The same after an earlier keeper with these values: the worker compares those that it fetches later with them.
    pub fn start_after(
        earlier: Option<EarlierValues>,
        task: Task,
        plan: &Plan,
        instances: Instances,
        environment: Environment,
    ) -> Result<Self> {
        let has_stores = plan.has_stores || task == Task::Watch;
        let processors = Processors::read();
        let (worker, socket) = match cage::fork()? {
            // The worker never returns from here.
            Forked::Worker(ends) => {
                processors.use_all();
                inside::run(task, earlier, plan, instances, environment, ends)
            }
            Forked::Privileged(worker, socket) => (worker, socket),
        };
        processors.start_elsewhere(worker.pid());
        let open = Open { worker, socket: Socket::new(socket) };
        Ok(Self {
            open: Some(open),
            deadline: plan.deadline.at(),
            has_stores,
            is_ending: false,
            generation: FIRST_GENERATION,
            unanswered: 0,
        })
    }

    /// The worker's process id, while it may live.
    pub fn worker(&self) -> Option<Pid> {
        self.open.as_ref().map(|open| open.worker.pid())
    }

    /// The numbers of our own descriptors of it.
    pub fn numbers(&self) -> Vec<RawFd> {
        let Some(Open { worker, socket }) = &self.open else { return Vec::new() };
        [Some(socket.stream().as_raw_fd()), worker.log.pipe().map(|pipe| pipe.as_raw_fd())]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The worker has ended, and was reaped, with this exit code.
    pub fn was_reaped(&mut self, code: u8) {
        if let Some(open) = &mut self.open {
            open.worker.was_reaped(code);
        }
    }

    /// Lets the worker begin the fetch. It sends no request to a store before.
    pub fn begin_fetch(&mut self) -> Result<()> {
        self.begin(BEGIN)
    }

    /// The same; each secret is requested once, because the set of an earlier keeper can stay.
    pub fn begin_fetch_once(&mut self) -> Result<()> {
        self.begin(BEGIN_ONCE)
    }

    fn begin(&mut self, message: u8) -> Result<()> {
        let Some(Open { socket, .. }) = &mut self.open else { return Ok(()) };
        match send_bytes(socket.stream(), &[message]) {
            Ok(()) => Ok(()),
            // The worker has ended by itself. Its last message, or its exit code, is the better error.
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(error) => Err(system("tell the worker to begin", error)),
        }
    }

    /// Receives the whole set of secrets. Fails if one that is needed could not be fetched.
    pub fn receive_set(&mut self, plan: &Plan, interrupts: &Interrupts<'_>) -> Result<Vec<Arrived>> {
        let received = self.generation(plan, interrupts)?;
        if !received.identities.is_empty() {
            return Err(socket::violation("an identity that nobody has asked for"));
        }
        if !received.failures.is_empty() {
            let failures = received.failures.into_iter().map(|(_, error)| error).collect();
            return Err(sum(failures, plan.secrets.len()));
        }
        cage::report(received.cage, plan.isolation.strict)?;
        Ok(received.arrived)
    }

    /// Fails if the worker has sent anything since its commit, or has ended. Called right before its secrets are delivered.
    pub fn check_quiet(&self) -> Result<()> {
        self.open.as_ref().map_or(Ok(()), |open| socket::check_quiet(&open.socket))
    }

    /// Tells the worker that its secrets were delivered, and waits for its end. From here on nothing that the worker does is a
    /// failure of the start, unless it cannot be ended: the secrets are there, and have been read back.
    pub fn end(mut self, interrupts: &Interrupts<'_>) -> Result<()> {
        let sent = self.confirm_delivery();
        self.wait_for_end(sent, interrupts)
    }

    /// The same for a worker that lives on if it holds a lease: only the worker knows, and it sends a message then.
    pub fn end_unless_leased(mut self, interrupts: &Interrupts<'_>) -> Result<Option<Self>> {
        let sent = self.confirm_delivery();
        let backstop = self.backstop();
        let awaits_more = match &mut self.open {
            Some(Open { worker, socket }) if sent.is_ok() => {
                socket::awaits_more(socket, &mut interrupts.with_worker(worker, backstop))
            }
            _ => sent.map(|()| false),
        };
        match awaits_more {
            Ok(true) => Ok(Some(self)),
            other => self.wait_for_end(other.map(drop), interrupts).map(|()| None),
        }
    }

    /// Tells the worker that its secrets were delivered. From here on its end is no failure, and it revokes nothing if this process
    /// fails.
    fn confirm_delivery(&mut self) -> Result<()> {
        self.is_ending = false;
        let Some(Open { socket, .. }) = &self.open else { return Ok(()) };
        // A worker that has ended is noticed by the wait for its end.
        send_bytes(socket.stream(), &[DELIVERED])
            .map_err(|error| system("tell the worker that its secrets are kept", error))
    }

    fn wait_for_end(mut self, sent: Result<()>, interrupts: &Interrupts<'_>) -> Result<()> {
        let backstop = self.backstop();
        let Some(Open { mut worker, mut socket }) = self.open.take() else { return Ok(()) };
        let waited =
            sent.and_then(|()| socket::await_end(&mut socket, &mut interrupts.with_worker(&mut worker, backstop)));
        match (waited.and_then(|()| worker.finish()), worker.end()) {
            (_, end @ End::Stuck) => Err(ended(end)),
            (Err(error), _) if matches!(error.class, Class::Signal(_)) => Err(error),
            (Err(error), _) => {
                tracing::warn!(target: "handfast", "after its secrets were delivered: {}", error.message);
                Ok(())
            }
            (Ok(()), End::Reaped(_)) => Ok(()),
        }
    }

    fn generation(&mut self, plan: &Plan, interrupts: &Interrupts<'_>) -> Result<Received> {
        let backstop = self.deadline + LAST_WORDS;
        let received = self.exchange(interrupts, backstop, |socket, wait| receive::generation(plan, socket, wait))?;
        // Failures of secrets are reported, however the worker ends.
        self.is_ending = self.has_stores || !received.failures.is_empty();
        if !self.is_ending {
            self.exchange(interrupts, backstop, socket::await_end)?;
            self.open.take().map_or(Ok(()), |mut open| open.worker.finish())?;
        }
        Ok(received)
    }

    fn policy(&mut self, plan: &Plan, interrupts: &Interrupts<'_>) -> Result<Policy> {
        let backstop = self.deadline + LAST_WORDS;
        let policy = self.exchange(interrupts, backstop, |socket, wait| receive::policy(plan, socket, wait))?;
        self.is_ending = true;
        Ok(policy)
    }

    /// Runs one part of the exchange. If the part fails, the worker is killed at once.
    fn exchange<T>(
        &mut self,
        interrupts: &Interrupts<'_>,
        backstop: Instant,
        part: impl FnOnce(&mut Socket, &mut WorkerWait<'_, '_>) -> Result<T>,
    ) -> Result<T> {
        let Some(Open { worker, socket }) = &mut self.open else {
            return Err(Error::new(Phase::Fetch, Class::Internal, "the worker has ended already"));
        };
        let done = part(socket, &mut interrupts.with_worker(worker, backstop));
        done.map_err(|error| last_words(error, worker.end()))
    }

    /// The time after which a worker that is about to end is killed.
    fn backstop(&self) -> Instant {
        let now = Instant::now();
        (now + LETTING_GO).min(self.deadline.max(now) + LAST_WORDS)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let backstop = self.backstop();
        let Some(Open { worker, socket }) = &mut self.open else { return };
        if !self.is_ending {
            return;
        }
        let sent = if self.has_stores { send_bytes(socket.stream(), &[NOT_DELIVERED]) } else { Ok(()) };
        // Before its end, the worker also wipes its memory.
        let ended = sent
            .map_err(|error| system("tell the worker to give back", error))
            .and_then(|()| socket::await_end(socket, &mut Interrupts::default().with_worker(worker, backstop)));
        if let (Err(error), true) = (ended, self.has_stores) {
            tracing::warn!(target: "handfast", "not everything that was issued was given back, and ends by itself: {}", error.message);
        }
    }
}

/// The result for a secret that was only tried.
pub enum Tried {
    /// It can be fetched.
    Fine,
    /// It does not exist, which is no failure.
    Missing,
    /// It cannot be fetched.
    Failed(Error),
}

impl Tried {
    /// Why it cannot be fetched.
    pub fn failure(&self) -> Option<&Error> {
        match self {
            Tried::Failed(error) => Some(error),
            Tried::Fine | Tried::Missing => None,
        }
    }
}

/// The results of an attempt.
pub struct Attempt {
    /// For each secret, in the plan's order.
    pub tried: Vec<Tried>,
    /// How provider instances logged in, by their number.
    pub identities: BTreeMap<usize, String>,
}

/// Tries to fetch every secret, and lets the worker revoke the credentials that the stores issued. No value leaves the worker.
pub fn attempt(
    plan: &Plan,
    instances: Instances,
    environment: Environment,
    interrupts: &Interrupts<'_>,
) -> Result<Attempt> {
    let mut link = Link::start(Task::Try, plan, instances, environment)?;
    link.begin_fetch()?;
    let received = link.generation(plan, interrupts)?;
    cage::report(received.cage, plan.isolation.strict)?;
    let mut tried: Vec<Tried> = plan.secrets.iter().map(|_| Tried::Fine).collect();
    received.missing.into_iter().for_each(|secret| tried[secret] = Tried::Missing);
    received.failures.into_iter().for_each(|(secret, error)| tried[secret] = Tried::Failed(error));
    Ok(Attempt { tried, identities: received.identities })
}

/// A worker that only enters its cage, as that of a start does.
pub struct Rehearsal {
    worker: Worker,
    socket: UnixStream,
}

impl Rehearsal {
    /// Forks the worker.
    pub fn start(task: Task, plan: &Plan, instances: &Instances) -> Result<Self> {
        match cage::fork()? {
            Forked::Worker(ends) => inside::rehearse(task, plan, instances, ends),
            Forked::Privileged(worker, socket) => Ok(Self { worker, socket }),
        }
    }

    /// Fails unless the worker could enter its cage, and listen for metrics if the plan has metrics.
    pub fn end(self, plan: &Plan) -> Result<()> {
        let Self { mut worker, socket } = self;
        let interrupts = Interrupts::default();
        let mut wait = interrupts.with_worker(&mut worker, Instant::now() + LETTING_GO);
        let entered = ready::ready(plan, &mut Socket::new(socket), &mut wait);
        entered.map(drop).map_err(|error| last_words(error, worker.end()))
    }
}

/// The policy of one provider instance, made with its store's answers about the secrets; `None` where the store adds nothing to
/// the configuration.
pub fn policy(
    instance: usize,
    plan: &Plan,
    instances: Instances,
    environment: Environment,
    interrupts: &Interrupts<'_>,
) -> Result<Option<String>> {
    let mut link = Link::start(Task::Policy(instance), plan, instances, environment)?;
    link.begin_fetch()?;
    let policy = link.policy(plan, interrupts)?;
    cage::report(policy.cage, plan.isolation.strict)?;
    if policy.failures.is_empty() { Ok(policy.text) } else { Err(sum(policy.failures, plan.secrets.len())) }
}

/// Sends the worker a few bytes, whole.
fn send_bytes(socket: &UnixStream, bytes: &[u8]) -> nix::Result<()> {
    let sent = send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// The error of a failed exchange, given how its worker ended. If the deadline passed because the worker is stuck, the error says
/// that it is stuck.
fn last_words(error: Error, end: End) -> Error {
    match end {
        End::Reaped(_) => error,
        End::Stuck if error.class == Class::Unavailable => ended(end),
        End::Stuck => {
            tracing::warn!(target: "handfast", "{}", ended(end).message);
            error
        }
    }
}
