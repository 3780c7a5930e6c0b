//! All that the worker does: it locks itself up, waits until it may begin, fetches, sends, waits for the verdict, lets go, ends.
#![forbid(unsafe_code)]

mod say;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use handfast_core::Ending;
use nix::unistd::Pid;

use super::frame::KEPT;
use crate::cage::{self, Ends, Profile};
use crate::config::Environment;
use crate::error::{Class, reason};
use crate::fetch::{Fetch, OnFailure, Runtime};
use crate::plan::{Instances, Plan};
use crate::sys;

/// What a worker is forked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To fetch every secret.
    Fetch,
    /// To fetch each secret, say whether it can be had, and give back what was issued for it. No value leaves the worker.
    Try,
    /// To render the policy for the secrets of this provider instance, by its number in the plan.
    Policy(usize),
}

/// Runs the worker to its end. The privileged process reads the exit code when no frame has told it more.
///
/// The socket closes with the process: for the privileged process, its end means that the exit code is there.
pub fn run(task: Task, plan: &Plan, instances: Instances, environment: Environment, ends: Ends) -> ! {
    let Ends { mut socket, log, parent } = ends;
    let code = match serve(task, plan, instances, environment, &mut socket, (log, parent)) {
        Ok(()) => 0,
        Err(class) => i32::from(class.exit_code()),
    };
    // Everything that held a value has been dropped, and so wiped, by now.
    sys::exit::now(code)
}

fn serve(
    task: Task,
    plan: &Plan,
    instances: Instances,
    environment: Environment,
    socket: &mut UnixStream,
    (log, parent): (OwnedFd, Pid),
) -> Result<(), Class> {
    let sockets = instances.sockets();
    let cage = cage::enter(parent, Profile::of_worker(socket, sockets), log).map_err(|error| {
        tracing::error!(target: "handfast", "the worker cannot lock itself up: {}", reason(error));
        Class::Isolation
    })?;
    // A privileged process that is gone reads nothing: the worker just ends.
    say::ready(cage, socket).map_err(|_| Class::Os)?;
    let runtime = Runtime::new(&instances).map_err(|error| {
        tracing::error!(target: "handfast", "the worker cannot start its runtime: {}", reason(error));
        Class::Os
    })?;
    // No store is asked for anything before the privileged process has seen that all that it can check by itself is in order.
    socket.read_exact(&mut [0]).map_err(|_| Class::Os)?;
    runtime.run(async {
        let fetch = Fetch::connect(plan, instances, environment);
        let said = match task {
            Task::Fetch => say::outcomes(plan, fetch.round(OnFailure::CutShort).await, socket),
            Task::Try => say::outcomes(plan, say::without_values(fetch.round(OnFailure::GoOn).await), socket),
            Task::Policy(instance) => say::policy(fetch.policy(instance).await, socket),
        };
        said.map_err(|_| Class::Os)?;
        if sockets.any() {
            let mut verdict = [0];
            // A privileged process that is gone has kept nothing.
            let is_kept = socket.read_exact(&mut verdict).is_ok() && verdict == [KEPT];
            fetch.finish(if is_kept { Ending::Kept } else { Ending::NotKept }).await;
        }
        Ok(())
    })
}
