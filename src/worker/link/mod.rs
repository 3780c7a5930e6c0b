//! The privileged side of a worker: its fork, the exchange with it, and its end.
#![forbid(unsafe_code)]

mod failures;
mod receive;
mod watch;

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

pub use failures::sum;
pub use watch::Watch;

use super::frame::{BEGIN, KEPT, NOT_KEPT};
use super::inside::{self, Task};
use crate::cage::{self, End, Forked, Processors, Worker, ended, system};
use crate::config::Environment;
use crate::deliver::Arrived;
use crate::error::{Class, Error, Result};
use crate::plan::{Instances, Plan};
use receive::{Policy, Received, Socket};
use watch::WorkerWatch;

/// How long after the deadline the worker may still take to say that it is over.
const LAST_WORDS: Duration = Duration::from_millis(800);

/// How long a worker may take to let go of the stores: more than it gives itself.
const LETTING_GO: Duration = Duration::from_millis(2500);

/// A worker, as the privileged process sees it. Dropped without [`end`](Self::end), it tells the worker that nothing was kept.
pub struct Link {
    /// Goes first: it ends the worker before the socket does.
    worker: Worker,
    socket: Socket,
    deadline: Instant,
    /// It talks to stores, so that it may have something to give back: it waits for the verdict after its commit. Another worker
    /// ends at its commit.
    has_stores: bool,
    /// It has said all, and its end is still to be waited for.
    is_ending: bool,
}

impl Link {
    /// Forks a worker, which locks itself up and waits. The instances and the environment go into it: what they hold of credentials
    /// and made-up secrets is gone from this process as soon as the worker has its copy.
    pub fn start(task: Task, plan: &Plan, instances: Instances, environment: Environment) -> Result<Self> {
        let has_stores = instances.sockets().any();
        let processors = Processors::read();
        let (worker, socket) = match cage::fork()? {
            // The worker never returns from here.
            Forked::Worker(ends) => {
                processors.use_all();
                inside::run(task, plan, instances, environment, ends)
            }
            Forked::Privileged(worker, socket) => (worker, socket),
        };
        processors.start_elsewhere(worker.pid());
        Ok(Self { worker, socket: Socket::new(socket), deadline: plan.deadline.at(), has_stores, is_ending: false })
    }

    /// Lets the worker begin: until here it has asked no store for anything.
    pub fn begin(&mut self) -> Result<()> {
        match tell(self.socket.stream(), BEGIN) {
            Ok(()) => Ok(()),
            // It has ended by itself, and how says more.
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(ended(self.worker.end())),
            Err(error) => Err(system("tell the worker to begin", error)),
        }
    }

    /// The next set of secrets, whole, where every secret could be had.
    pub fn next(&mut self, plan: &Plan, watch: &Watch<'_>) -> Result<Vec<Arrived>> {
        let received = self.generation(plan, watch)?;
        if !received.failures.is_empty() {
            let failures = received.failures.into_iter().map(|(_, error)| error).collect();
            return Err(sum(failures, plan.secrets.len()));
        }
        cage::report(received.cage, plan.isolation.strict)?;
        Ok(received.arrived)
    }

    /// Tells the worker that its secrets were delivered, and waits for its end.
    pub fn end(mut self, watch: &Watch<'_>) -> Result<()> {
        if std::mem::take(&mut self.is_ending) && self.has_stores {
            match tell(self.socket.stream(), KEPT) {
                // That it is gone is found out below.
                Ok(()) | Err(Errno::EPIPE) => {}
                Err(error) => return Err(system("tell the worker that its secrets are kept", error)),
            }
            let backstop = self.backstop();
            self.exchange(watch, backstop, receive::end)?;
        }
        self.worker.finish()
    }

    fn generation(&mut self, plan: &Plan, watch: &Watch<'_>) -> Result<Received> {
        let received =
            self.exchange(watch, self.deadline + LAST_WORDS, |socket, watch| receive::generation(plan, socket, watch))?;
        // What the stores refused is told whatever becomes of the worker.
        self.is_ending = self.has_stores || !received.failures.is_empty();
        if !self.is_ending {
            self.exchange(watch, self.deadline + LAST_WORDS, receive::end)?;
            self.worker.finish()?;
        }
        Ok(received)
    }

    fn policy(&mut self, plan: &Plan, watch: &Watch<'_>) -> Result<Policy> {
        let policy =
            self.exchange(watch, self.deadline + LAST_WORDS, |socket, watch| receive::policy(plan, socket, watch))?;
        self.is_ending = true;
        Ok(policy)
    }

    /// Does a part of the exchange; where that fails, the worker is ended at once.
    fn exchange<T>(
        &mut self,
        watch: &Watch<'_>,
        backstop: Instant,
        part: impl FnOnce(&mut Socket, &mut WorkerWatch<'_, '_>) -> Result<T>,
    ) -> Result<T> {
        let done = part(&mut self.socket, &mut watch.with_worker(&mut self.worker, backstop));
        done.map_err(|error| last_words(error, self.worker.end()))
    }

    /// When a worker that lets go of its stores is waited for no longer.
    fn backstop(&self) -> Instant {
        let now = Instant::now();
        (now + LETTING_GO).min(self.deadline.max(now) + LAST_WORDS)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.is_ending || (self.has_stores && tell(self.socket.stream(), NOT_KEPT).is_err()) {
            return;
        }
        // Until its end, the worker also wipes what it holds.
        let backstop = self.backstop();
        let ended = receive::end(&mut self.socket, &mut Watch::default().with_worker(&mut self.worker, backstop));
        if let (Err(error), true) = (ended, self.has_stores) {
            tracing::warn!(target: "handfast", "not everything that was issued was given back, and ends by itself: {}", error.message);
        }
    }
}

/// What became of a secret that was only tried.
pub enum Tried {
    /// It can be had.
    Fine,
    /// It does not exist, which is no failure.
    Missing,
    /// It cannot be had.
    Failed(Error),
}

impl Tried {
    /// Why it cannot be had.
    pub fn failure(&self) -> Option<&Error> {
        match self {
            Tried::Failed(error) => Some(error),
            Tried::Fine | Tried::Missing => None,
        }
    }
}

/// Fetches every secret and gives each back, in the plan's order. No value leaves the worker.
pub fn attempt(plan: &Plan, instances: Instances, environment: Environment, watch: &Watch<'_>) -> Result<Vec<Tried>> {
    let mut link = Link::start(Task::Try, plan, instances, environment)?;
    link.begin()?;
    let received = link.generation(plan, watch)?;
    cage::report(received.cage, plan.isolation.strict)?;
    let mut tried: Vec<Tried> = plan.secrets.iter().map(|_| Tried::Fine).collect();
    received.missing.into_iter().for_each(|secret| tried[secret] = Tried::Missing);
    received.failures.into_iter().for_each(|(secret, error)| tried[secret] = Tried::Failed(error));
    Ok(tried)
}

/// The policy of one provider instance, with what its store says of the secrets; `None` where the store says nothing more than the
/// configuration.
pub fn policy(
    instance: usize,
    plan: &Plan,
    instances: Instances,
    environment: Environment,
    watch: &Watch<'_>,
) -> Result<Option<String>> {
    let mut link = Link::start(Task::Policy(instance), plan, instances, environment)?;
    link.begin()?;
    let policy = link.policy(plan, watch)?;
    cage::report(policy.cage, plan.isolation.strict)?;
    if policy.failures.is_empty() { Ok(policy.text) } else { Err(sum(policy.failures, plan.secrets.len())) }
}

/// Sends the worker a byte.
fn tell(socket: &UnixStream, byte: u8) -> nix::Result<()> {
    send(socket.as_raw_fd(), &[byte], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// Why an exchange failed, with what became of its worker. A deadline that passes since the worker cannot be ended is told as that.
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
