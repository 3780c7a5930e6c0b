//! The worker's life: it enters its cage, waits until it may begin, fetches, sends the secrets, waits to learn whether they were
//! delivered, closes its connections to the stores, and ends.
#![forbid(unsafe_code)]

mod files;
mod keep;
mod metrics;
mod post;
mod send;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use handfast_core::Ending;
use nix::unistd::Pid;

use super::frame::{BEGIN_ONCE, DELIVERED};
use crate::cage::{self, Ends, Profile};
use crate::config::Environment;
use crate::error::{Class, reason};
use crate::fetch::{EarlierValues, Fetch, OnFailure, Runtime, Schedule};
use crate::plan::{Instances, Plan};
use crate::sys::{self, clock::boot_time};
use keep::First;

/// The task of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Fetch every secret.
    Fetch,
    /// Fetch every secret, report whether that works, and revoke the credentials that were issued. No value leaves the worker.
    Try,
    /// Fetch every secret, and live on: read each again, and send the changes. If none is read again, live on only to renew a lease.
    Watch,
    /// Render the policy for the secrets of one provider instance, given by its number in the plan.
    Policy(usize),
}

impl Task {
    /// The task of the worker of a start.
    pub fn of(plan: &Plan) -> Self {
        if plan.may_keep_worker() { Self::Watch } else { Self::Fetch }
    }
}

/// Runs the worker to its end. If no frame reports a failure, the privileged process reads the exit code.
///
/// The exit closes the socket, so the privileged process finds the exit code once it sees the socket closed.
pub fn run(
    task: Task,
    earlier: Option<EarlierValues>,
    plan: &Plan,
    instances: Instances,
    environment: Environment,
    ends: Ends,
) -> ! {
    let Ends { mut socket, log, parent } = ends;
    let code = match serve((task, earlier), plan, instances, environment, &mut socket, (log, parent)) {
        Ok(()) => 0,
        Err(class) => i32::from(class.exit_code()),
    };
    // Everything that held a value has been dropped by now, and so wiped.
    sys::exit::now(code)
}

/// Enters the cage as the worker of a start does, reports whether that worked, and ends.
pub fn rehearse(task: Task, plan: &Plan, instances: &Instances, ends: Ends) -> ! {
    let Ends { mut socket, log, parent } = ends;
    let entered = enter(task, plan, instances, &mut socket, (log, parent));
    sys::exit::now(entered.map_or_else(|class| i32::from(class.exit_code()), |_| 0))
}

/// Reports that the worker cannot listen for metrics. The class is for a privileged process that did not get the report.
fn refuse(error: &std::io::Error, socket: &mut UnixStream) -> Class {
    drop(send::no_listener(error, socket));
    Class::Os
}

/// Listens for metrics if the plan has metrics, enters the cage, and reports that.
fn enter(
    task: Task,
    plan: &Plan,
    instances: &Instances,
    socket: &mut UnixStream,
    (log, parent): (OwnedFd, Pid),
) -> Result<Option<metrics::Listener>, Class> {
    // Before the cage, which forbids to listen.
    let listener = match plan.watching.metrics.filter(|_| task == Task::Watch) {
        Some(address) => Some(metrics::listen(address).map_err(|error| refuse(&error, socket))?),
        None => None,
    };
    let sockets = instances.sockets();
    let mut profile = Profile::of_worker(socket, sockets);
    if task == Task::Watch {
        profile = profile.with_alarm();
        if plan.secrets.iter().any(|secret| instances.file_of(secret).is_some()) {
            profile = profile.with_inotify();
        }
    }
    if let Some(listener) = &listener {
        profile = profile.with_listener(listener);
    }
    let cage = cage::enter(parent, profile, log).map_err(|error| {
        tracing::error!(target: "handfast", "the worker cannot lock itself up: {}", reason(error));
        Class::Isolation
    })?;
    // If the privileged process has ended, no process reads a message: the worker just ends.
    send::ready(cage, socket).map_err(|_| Class::Os)?;
    Ok(listener)
}

fn serve(
    (task, earlier): (Task, Option<EarlierValues>),
    plan: &Plan,
    instances: Instances,
    environment: Environment,
    socket: &mut UnixStream,
    ends: (OwnedFd, Pid),
) -> Result<(), Class> {
    let listener = enter(task, plan, &instances, socket, ends)?;
    let runtime = Runtime::new(&instances, task == Task::Watch).map_err(|error| {
        tracing::error!(target: "handfast", "the worker cannot start its runtime: {}", reason(error));
        Class::Os
    })?;
    // No request goes to a store before the privileged process has done every check that needs no store.
    let mut begin = [0];
    socket.read_exact(&mut begin).map_err(|_| Class::Os)?;
    let on_failure = if begin == [BEGIN_ONCE] { OnFailure::GiveUp } else { OnFailure::CutShort };
    runtime.run(async {
        let fetch = Fetch::connect(plan, instances, environment);
        let mut first = None;
        let sent = match task {
            Task::Watch => {
                let outcomes = fetch.round(on_failure).await;
                let sent = send::outcomes(plan, &outcomes, &[], socket);
                let (jobs, is_paced, now) = (fetch.jobs(), fetch.is_paced(), boot_time());
                let has_failed = outcomes.iter().any(|outcome| fetch.is_fatal(outcome));
                first = Some(match has_failed {
                    false => First {
                        schedule: Schedule::new(plan, jobs, is_paced, &outcomes, now),
                        undelivered: Vec::new(),
                        times: Vec::new(),
                    },
                    // Nothing of this round is delivered; the set of an earlier keeper may stay.
                    true => {
                        let mut earlier = earlier.unwrap_or_default();
                        let times = std::mem::take(&mut earlier.times);
                        let schedule = Schedule::with_earlier(plan, jobs, is_paced, earlier, now);
                        First { schedule, undelivered: outcomes, times }
                    }
                });
                sent
            }
            Task::Fetch => send::outcomes(plan, &fetch.round(on_failure).await, &[], socket),
            Task::Try => {
                let outcomes = send::without_values(fetch.round(OnFailure::GoOn).await);
                send::outcomes(plan, &outcomes, &fetch.identities(), socket)
            }
            Task::Policy(instance) => send::policy(fetch.policy(instance).await, socket),
        };
        sent.map_err(|_| Class::Os)?;
        if plan.has_stores || first.is_some() {
            let mut verdict = [0];
            // If the privileged process is gone, nothing was delivered.
            let is_delivered = socket.read_exact(&mut verdict).is_ok() && verdict == [DELIVERED];
            let ending = match first {
                _ if !is_delivered => Ending::NotDelivered,
                None => Ending::Delivered,
                Some(first) if !plan.keeps_fresh() && !first.schedule.has_lease() => Ending::Delivered,
                Some(first) => keep::keep(plan, &fetch, first, socket, listener).await.map_err(|error| {
                    tracing::error!(target: "handfast", "the worker cannot go on: {}", reason(error));
                    Class::Os
                })?,
            };
            fetch.finish(ending).await;
        }
        Ok(())
    })
}
