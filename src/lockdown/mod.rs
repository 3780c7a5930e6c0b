//! The stage `lockdown`: drops all privileges of the calling process that the app must not have, and proves it by reading the
//! state back. The process is handfast's own or a child just forked. This stage never sees a secret.
//!
//! The steps run in an order in which each still has the privilege that it needs. A change that is already in effect is not
//! attempted, so a process that was started with few privileges needs few.
#![forbid(unsafe_code)]

mod core_limit;
mod descriptors;
mod failure;
mod identity;
mod possible;
mod state;
mod status;
mod stdio;
mod supervisor;
mod verify;

use std::os::fd::RawFd;

pub use core_limit::CoreLimit;
pub use descriptors::close_inherited;
pub use possible::{bounding_after, refuse_impossible};
pub use state::ProcessState;
pub use supervisor::{Duties, lock_keeper, lock_supervisor, of_supervisor, refuse_keeping, refuse_supervision};

use crate::error::Result;
use crate::plan::Isolation;
use failure::{call, failed};

/// The proof that this process has only the privileges of the plan. Only [`lock`] makes the proof; `launch` consumes it.
#[derive(Debug)]
pub struct Locked(());

/// Drops every privilege that `isolation` does not keep, closes every descriptor except 0, 1, 2 and those of `keep_open`, and
/// reads the state back. After an error, this process may only report the error and exit.
///
/// Every owner of a descriptor that is closed here must be dropped before. A child that still has such owners on its stack must
/// end by exec or by [`exit::now`](crate::sys::exit::now), so that they are never dropped.
pub fn lock(isolation: &Isolation, keep_open: &[RawFd], core_limit: CoreLimit, found: ProcessState) -> Result<Locked> {
    let ProcessState { status: found, securebits } = found;
    // The read-back counts the threads again.
    if found.threads != 1 {
        return Err(failed(format!("this process has {} threads, of which only one would be locked", found.threads)));
    }
    identity::make_effective(&found)?;
    stdio::hand_over(isolation, &found)?;
    core_limit.apply(isolation.core_dumps)?;
    let bounding = identity::shrink_bounding(isolation, isolation.capabilities, &found)?;
    identity::change(isolation, &found, securebits)?;
    if !found.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(|error| call("set no_new_privs", error))?;
    }
    descriptors::close_all_but(keep_open)?;
    verify::verify(isolation, identity::groups(isolation, &found), keep_open, core_limit, bounding, securebits)?;
    Ok(Locked(()))
}
