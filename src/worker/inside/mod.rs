//! All that the worker does: lock itself up, wait for its beginning, fetch, send, wipe, end.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use handfast_core::{ErrorKind, SecretValue};
use nix::unistd::Pid;

use super::frame::{self, Batch, FIRST_GENERATION, Kind};
use crate::cage::{self, Cage, Ends};
use crate::config::Environment;
use crate::error::{Class, reason};
use crate::fetch::{self, Aim, Fetched, Finding, Order, Outcome};
use crate::plan::{Instances, Plan};
use crate::sys;

/// Runs the worker to its end. The privileged process reads the exit code when no frame has told it more.
///
/// The socket closes with the process: for the privileged one, its end means that the exit code is there.
pub fn run(aim: Aim, plan: &Plan, instances: Instances, environment: Environment, ends: Ends) -> ! {
    let Ends { mut socket, log, parent } = ends;
    let code = match serve(aim, plan, instances, environment, &mut socket, (log, parent)) {
        Ok(()) => 0,
        Err(class) => i32::from(class.exit_code()),
    };
    // Everything that held a value has been dropped, and so wiped, by now.
    sys::exit::now(code)
}

fn serve(
    aim: Aim,
    plan: &Plan,
    instances: Instances,
    environment: Environment,
    socket: &mut UnixStream,
    (log, parent): (OwnedFd, Pid),
) -> Result<(), Class> {
    let cage = cage::enter(parent, socket, log, instances.sockets()).map_err(|error| {
        tracing::error!(target: "handfast", "the worker cannot lock itself up: {}", reason(error));
        Class::Isolation
    })?;
    // A privileged process that is gone reads nothing: the worker just ends.
    ready(cage, socket).map_err(|_| Class::Os)?;
    let runtime = fetch::Runtime::new(&instances).map_err(|error| {
        tracing::error!(target: "handfast", "the worker cannot start its runtime: {}", reason(error));
        Class::Os
    })?;
    // Till here all was its own business. Nobody is asked for anything before the privileged process has seen that what it can
    // check by itself is in order.
    socket.read_exact(&mut [0]).map_err(|_| Class::Os)?;
    let (secrets, concurrency, deadline) = (&plan.secrets[..], plan.concurrency, plan.deadline.at());
    let order = Order { aim, secrets, instances, concurrency, deadline };
    let fetched = runtime.fetch(order, environment);
    send(aim, plan, &fetched, socket).map_err(|_| Class::Os)
}

fn ready(cage: Cage, socket: &mut UnixStream) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add(Kind::Ready, FIRST_GENERATION, 0, [Cow::Owned(vec![cage.encode()])])?;
    batch.send(socket)
}

fn send(aim: Aim, plan: &Plan, fetched: &Fetched, socket: &mut UnixStream) -> io::Result<()> {
    let generation = FIRST_GENERATION;
    let mut batch = Batch::default();
    // First, so that what is wrong with a value that follows can be undone too. What is too long ends by itself.
    let sendable = |told: &SecretValue| aim == Aim::Use && (1..=frame::MAX_UNDO).contains(&told.len());
    for (instance, told) in fetched.undo.iter().filter(|(_, told)| sendable(told)) {
        batch.add(Kind::GiveBack, generation, *instance, [Cow::Borrowed(told.expose())])?;
    }
    for &Outcome { secret, ref result } in &fetched.outcomes {
        match result {
            Ok(Finding::Place(place)) => {
                batch.add(Kind::Place, generation, secret, [Cow::Owned(place.to_be_bytes().to_vec())])?;
            }
            Ok(Finding::Values(parts)) => {
                if parts.iter().any(|part| part.name.is_some()) || plan.secrets[secret].is_several() {
                    let count = (parts.len() as u32).to_be_bytes().to_vec();
                    batch.add(Kind::Fields, generation, secret, [Cow::Owned(count)])?;
                }
                for part in parts {
                    let name = part.name.as_deref().unwrap_or_default();
                    let mut end = name.len().min(frame::MAX_NAME);
                    while !name.is_char_boundary(end) {
                        end -= 1;
                    }
                    let length = Cow::Owned((end as u16).to_be_bytes().to_vec());
                    let name = Cow::Borrowed(&name.as_bytes()[..end]);
                    // What is only tried leaves the worker by name alone.
                    let value = if aim == Aim::Use { part.value.expose() } else { &[] };
                    batch.add(Kind::Value, generation, secret, [length, name, Cow::Borrowed(value)])?;
                }
            }
            Err(failure) if failure.error.kind == ErrorKind::NotFound && plan.secrets[secret].optional => {
                batch.add(Kind::Missing, generation, secret, [])?;
            }
            Err(fetch::Failure { error, attempts }) => {
                let payload = frame::encode_failure(error.kind, *attempts, &error.message, error.hint.as_deref());
                batch.add(Kind::Failed, generation, secret, [Cow::Owned(payload)])?;
            }
        }
    }
    batch.add(Kind::Commit, generation, 0, [])?;
    batch.send(socket)
}
