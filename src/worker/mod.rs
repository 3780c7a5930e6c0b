//! The worker: a forked process without privileges that talks to the stores, so that the privileged one need not.
//!
//! `start` is the privileged side; `child` is all that the worker does. They share nothing but a socketpair and the frames on it.
#![forbid(unsafe_code)]

mod child;
mod failures;
mod frame;
mod receive;
pub mod sandbox;
mod seccomp;
mod undo;
mod watch;

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

pub use failures::sum;
pub use undo::Undo;
pub use watch::Watch;

use crate::config::Environment;
use crate::deliver::Arrived;
use crate::error::{Class, Error, Phase, Result, reason};
use crate::fetch::Aim;
use crate::plan::Plan;
use crate::sys;
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
}

/// Forks a worker, for all that it has to do before it may begin.
///
/// Takes the provider instances out of the plan, and the environment: what they hold of credentials and made-up secrets is
/// gone from this process as soon as the worker has its copy; `undo` keeps what is needed of them where something must be given
/// back.
pub fn hire(aim: Aim, plan: &mut Plan, environment: Environment, undo: &mut Undo) -> Result<Hired> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| system("make a socketpair for the worker", error))?;
    let instances = std::mem::take(&mut plan.instances);
    let parent = nix::unistd::getpid();
    // The worker never returns from here: it ends in `child::run`.
    let pid = match sys::process::fork().map_err(cannot_fork)? {
        ForkResult::Child => child::run(aim, plan, instances, environment, theirs, parent),
        ForkResult::Parent { child } => child,
    };
    drop(theirs);
    match aim {
        Aim::Use => undo.keep(instances, environment),
        Aim::Try => drop((instances, environment)),
        Aim::Survey => {
            drop(environment);
            plan.instances = instances;
        }
    }
    Ok(Hired { aim, worker: Worker { pid, reaped: None }, socket: ours })
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
    let received = exchange(hired, plan, watch, undo, meanwhile)?;
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
pub fn attempt(plan: &mut Plan, environment: Environment, watch: &Watch<'_>) -> Result<Vec<Tried>> {
    let received = ask(Aim::Try, plan, environment, watch)?;
    let mut tried: Vec<Tried> = plan.secrets.iter().map(|_| Tried::Fine).collect();
    received.missing.into_iter().for_each(|secret| tried[secret] = Tried::Missing);
    received.failures.into_iter().for_each(|(secret, error)| tried[secret] = Tried::Failed(error));
    Ok(tried)
}

/// Asks the stores for the secrets' places, in the plan's order. The plan keeps its instances.
pub fn survey(plan: &mut Plan, environment: Environment, watch: &Watch<'_>) -> Result<Vec<u128>> {
    let received = ask(Aim::Survey, plan, environment, watch)?;
    let mut places = vec![0; plan.secrets.len()];
    received.places.into_iter().for_each(|(secret, place)| places[secret] = place);
    Ok(places)
}

/// An exchange of which nothing is delivered, so that nothing is given back later.
fn ask(aim: Aim, plan: &mut Plan, environment: Environment, watch: &Watch<'_>) -> Result<Received> {
    let mut undo = Undo::default();
    let hired = hire(aim, plan, environment, &mut undo)?;
    exchange(hired, plan, watch, &mut undo, || Ok(()))
}

fn exchange(
    hired: Hired,
    plan: &Plan,
    watch: &Watch<'_>,
    undo: &mut Undo,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<Received> {
    let Hired { aim, mut worker, socket: mut ours } = hired;
    if let Err(error) = ours.write_all(&[0]) {
        return Err(match error.kind() {
            // It has ended by itself, and how says more.
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => ended(worker.end()),
            _ => system("tell the worker to begin", error),
        });
    }
    meanwhile()?;
    let backstop = plan.deadline.at() + LAST_WORDS;
    let mut received = receive::generation(aim, plan, undo, &ours, &mut watch.with_worker(&mut worker, backstop))?;
    if !received.failures.is_empty() {
        // Where each secret is tried for itself, so is its failure told. The worker is gone, or ends here.
        let failures = std::mem::take(&mut received.failures);
        if aim == Aim::Try {
            return Ok(Received { failures, ..received });
        }
        return Err(sum(failures.into_iter().map(|(_, error)| error).collect(), plan.secrets.len()));
    }
    receive::end(&ours, &mut watch.with_worker(&mut worker, backstop))?;
    worker.finish()?;
    undo.settle();
    sandbox::report(received.sandbox, plan.isolation.strict)?;
    Ok(received)
}

/// A worker that is reaped on every path: killed first where it has not ended by itself.
pub struct Worker {
    pid: Pid,
    reaped: Option<WaitStatus>,
}

impl Worker {
    /// Takes in the end of a worker that has closed its socket after its last frame.
    fn finish(&mut self) -> Result<()> {
        match self.end() {
            WaitStatus::Exited(_, 0) => Ok(()),
            status => Err(ended(status)),
        }
    }

    /// Makes sure that the worker is gone, and says how it ended. A worker of ours closes its socket by exiting, and the
    /// signal no longer changes how that reads; one that closes it and lives on would be waited for without end.
    fn end(&mut self) -> WaitStatus {
        if self.reaped.is_none()
            && let Err(error) = kill(self.pid, Signal::SIGKILL)
        {
            handfast_core::debug!("the worker has ended by itself: {}", reason(error));
        }
        self.reap()
    }

    fn reap(&mut self) -> WaitStatus {
        *self.reaped.get_or_insert_with(|| {
            loop {
                match waitpid(self.pid, None) {
                    Ok(status) => return status,
                    Err(nix::errno::Errno::EINTR) => {}
                    // Reaped by somebody else: there is nothing left to wait for.
                    Err(_) => return WaitStatus::Exited(self.pid, 0),
                }
            }
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Why the worker ended before it was done.
fn ended(status: WaitStatus) -> Error {
    let fail = |class, message: String| Error::new(Phase::Fetch, class, message);
    match status {
        WaitStatus::Exited(_, code) if code == i32::from(Class::Isolation.exit_code()) => {
            fail(Class::Isolation, "the worker could not give up its privileges".into())
                .hint("a seccomp filter that denies capset or prctl does this")
        }
        WaitStatus::Exited(_, code) if code == i32::from(Class::Os.exit_code()) => {
            fail(Class::Os, "the worker had not enough memory or descriptors".into())
        }
        WaitStatus::Exited(_, code) => fail(Class::Internal, format!("the worker ended early, with exit code {code}")),
        WaitStatus::Signaled(_, signal, _) => fail(Class::Internal, format!("the worker was killed by {signal}")),
        _ => fail(Class::Internal, "the worker ended early".into()),
    }
}

fn cannot_fork(error: std::io::Error) -> Error {
    let needs_proc = error.kind() == ErrorKind::NotFound;
    let failure = system("fork the worker", error);
    if needs_proc { failure.hint("mount procfs on /proc: isolation is verified there") } else { failure }
}

fn system(what: &str, error: impl Into<std::io::Error>) -> Error {
    Error::new(Phase::Fetch, Class::Os, format!("cannot {what}: {}", reason(error)))
}
