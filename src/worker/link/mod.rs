//! The privileged side of a worker: its fork, the exchange with it, and its end.
#![forbid(unsafe_code)]

mod failures;
mod receive;
mod watch;

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

pub use failures::sum;
pub use watch::Watch;

use super::{Undo, inside};
use crate::cage::{self, End, Forked, Processors, Worker, ended, system};
use crate::config::Environment;
use crate::deliver::Arrived;
use crate::error::{Class, Error, Result};
use crate::fetch::Aim;
use crate::plan::{Instances, Plan};
use receive::Received;

/// How long after the deadline, or after its failures, the worker may still take to say that it is over: more than it takes
/// to give back what it was given.
const LAST_WORDS: Duration = Duration::from_millis(800);

/// A worker that locks itself up and then waits for its beginning. One that is let go before has asked nobody for anything.
pub struct Hired {
    aim: Aim,
    /// Goes first: it ends the worker before the socket does.
    worker: Worker,
    socket: UnixStream,
    /// The instances, which a survey's policy is made by.
    surveyed: Instances,
}

/// Forks a worker, for all that it has to do before it may begin.
///
/// Takes the provider instances and the environment: what they hold of credentials and made-up secrets is gone from this process
/// as soon as the worker has its copy; `undo` keeps what is needed of them where something must be given back.
pub fn hire(aim: Aim, plan: &Plan, instances: Instances, environment: Environment, undo: &mut Undo) -> Result<Hired> {
    let processors = Processors::read();
    let (worker, socket) = match cage::fork()? {
        // The worker never returns from here.
        Forked::Worker(ends) => {
            processors.use_all();
            inside::run(aim, plan, instances, environment, ends)
        }
        Forked::Privileged(worker, socket) => (worker, socket),
    };
    processors.start_elsewhere(worker.pid());
    let mut surveyed = Instances::default();
    match aim {
        Aim::Use => undo.keep(instances, environment),
        Aim::Try => drop((instances, environment)),
        Aim::Survey(_) => surveyed = instances,
    }
    Ok(Hired { aim, worker, socket, surveyed })
}

/// Lets a worker fetch every secret; it is reaped before this returns. `meanwhile` is what can be done while it is at it; its
/// failure ends the worker too.
pub fn fetch(
    hired: Hired,
    plan: &Plan,
    watch: &Watch<'_>,
    undo: &mut Undo,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<Vec<Arrived>> {
    let (received, _) = exchange(hired, plan, watch, undo, meanwhile)?;
    Ok(received.arrived)
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

/// Fetches every secret as [`fetch`] does and gives each back, in the plan's order. No value leaves the worker.
pub fn attempt(plan: &Plan, instances: Instances, environment: Environment, watch: &Watch<'_>) -> Result<Vec<Tried>> {
    let (received, _) = ask(Aim::Try, plan, instances, environment, watch)?;
    let mut tried: Vec<Tried> = plan.secrets.iter().map(|_| Tried::Fine).collect();
    received.missing.into_iter().for_each(|secret| tried[secret] = Tried::Missing);
    received.failures.into_iter().for_each(|(secret, error)| tried[secret] = Tried::Failed(error));
    Ok(tried)
}

/// Asks the store of one instance for the places of its secrets, in the plan's order; 0 for the others. Hands this instance back.
pub fn survey(
    plan: &Plan,
    instance: usize,
    instances: Instances,
    environment: Environment,
    watch: &Watch<'_>,
) -> Result<(Vec<u128>, Instances)> {
    let (received, instances) = ask(Aim::Survey(instance), plan, instances.only(instance), environment, watch)?;
    let mut places = vec![0; plan.secrets.len()];
    received.places.into_iter().for_each(|(secret, place)| places[secret] = place);
    Ok((places, instances))
}

/// An exchange of which nothing is delivered, so that nothing is given back later.
fn ask(
    aim: Aim,
    plan: &Plan,
    instances: Instances,
    environment: Environment,
    watch: &Watch<'_>,
) -> Result<(Received, Instances)> {
    let mut undo = Undo::default();
    let hired = hire(aim, plan, instances, environment, &mut undo)?;
    exchange(hired, plan, watch, &mut undo, || Ok(()))
}

fn exchange(
    hired: Hired,
    plan: &Plan,
    watch: &Watch<'_>,
    undo: &mut Undo,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<(Received, Instances)> {
    let Hired { aim, mut worker, socket, surveyed } = hired;
    begin(&socket, &mut worker)?;
    meanwhile()?;
    let backstop = plan.deadline.at() + LAST_WORDS;
    let received = receive::generation(aim, plan, undo, &socket, &mut watch.with_worker(&mut worker, backstop));
    let mut received = received.map_err(|error| last_words(error, worker.end()))?;
    if !received.failures.is_empty() {
        // Where each secret is tried for itself, so is its failure told. The worker is gone, or ends here.
        let failures = std::mem::take(&mut received.failures);
        if aim == Aim::Try {
            return Ok((Received { failures, ..received }, surveyed));
        }
        let asked = plan.secrets.iter().filter(|secret| aim.asks(secret)).count();
        return Err(sum(failures.into_iter().map(|(_, error)| error).collect(), asked));
    }
    receive::end(&socket, &mut watch.with_worker(&mut worker, backstop))
        .map_err(|error| last_words(error, worker.end()))?;
    worker.finish()?;
    undo.settle();
    cage::report(received.cage, plan.isolation.strict)?;
    Ok((received, surveyed))
}

/// Sends the byte that the worker waits for.
fn begin(socket: &UnixStream, worker: &mut Worker) -> Result<()> {
    match send(socket.as_raw_fd(), &[0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(_) => Ok(()),
        // It has ended by itself, and how says more.
        Err(Errno::EPIPE | Errno::ECONNRESET) => Err(ended(worker.end())),
        Err(error) => Err(system("tell the worker to begin", error)),
    }
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
