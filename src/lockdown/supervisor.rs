//! The privileges of the process that stays, to supervise the app or to keep files fresh: as few as its work needs.
#![forbid(unsafe_code)]

use std::os::fd::RawFd;

use super::core_limit::CoreLimit;
use super::failure::{call, failed};
use super::identity::WITHOUT_SETPCAP;
use super::state::ProcessState;
use super::status::Status;
use super::{descriptors, identity, verify};
use crate::error::Result;
use crate::plan::Isolation;
use crate::sys::capabilities::{self, KILL, SETGID, SETPCAP, SETUID, Sets, bit};

/// What a supervisor does besides signals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Duties {
    /// The capabilities that writing later files needs, a bit per number.
    pub files: u64,
    /// Whether it may restart the app.
    pub restarts: bool,
}

/// Refuses to supervise an app that this process could send no signal.
pub fn refuse_supervision(isolation: &Isolation, found: &ProcessState) -> Result<()> {
    let found = &found.status;
    if planned_capabilities(isolation, found, Duties::default()) & !found.permitted == 0 {
        return Ok(());
    }
    let (own, app) = (found.uids[1], isolation.uid);
    Err(failed(format!("cannot supervise an app of uid {app} as uid {own}: the capability KILL is missing")).hint(
        "add the capability KILL to the container, or start it as the app's user; without `--supervise` none is needed",
    ))
}

/// Refuses to keep files fresh where [`lock_keeper`] could not do all of its work and the plan is strict. Else returns one sentence for
/// each best-effort step that will not work.
pub fn refuse_keeping(isolation: &Isolation, found: &ProcessState) -> Result<Vec<String>> {
    let found = &found.status;
    match (found.bounding != 0 && found.permitted & bit(SETPCAP) == 0, isolation.strict) {
        (true, true) => Err(failed(WITHOUT_SETPCAP).hint("[app] strict = true makes this a failure")),
        (true, false) => Ok(vec![WITHOUT_SETPCAP.to_owned()]),
        (false, _) => Ok(Vec::new()),
    }
}

/// Drops every privilege of the supervisor but the capabilities that its duties need. Its ids stay. Closes every descriptor except
/// 0, 1, 2 and those of `keep_open`, and reads the state back, as [`lock`](super::lock) does for the app.
///
/// The best-effort steps are the app's too: it is the app's process that says what could not be done.
pub fn lock_supervisor(
    isolation: &Isolation,
    duties: Duties,
    keep_open: &[RawFd],
    core_limit: CoreLimit,
    found: &ProcessState,
) -> Result<()> {
    let found = &found.status;
    identity::make_effective(found)?;
    // Another app's limit can be no higher than this one.
    let (core_limit, dumps) = match duties.restarts {
        true => (core_limit.before_the_app(isolation.core_dumps), true),
        false => (core_limit, false),
    };
    core_limit.apply(dumps)?;
    let (bounding, _) = identity::try_to_shrink_bounding(isolation.capabilities, found)?;
    let keep = planned_capabilities(isolation, found, duties);
    keep_only(keep, bounding.set(isolation.capabilities), keep_open, found)?;
    core_limit.verify(dumps)
}

/// Drops every privilege of a keeper without an app but the capabilities that writing later files needs, `files`; the bounding set
/// becomes empty. Else as [`lock_supervisor`].
pub fn lock_keeper(
    isolation: &Isolation,
    files: u64,
    keep_open: &[RawFd],
    core_limit: CoreLimit,
    found: &ProcessState,
) -> Result<()> {
    const DUMPS: bool = false;
    let found = &found.status;
    identity::make_effective(found)?;
    core_limit.apply(DUMPS)?;
    let bounding = identity::shrink_bounding(isolation, 0, found)?;
    keep_only(files, bounding.set(0), keep_open, found)?;
    core_limit.verify(DUMPS)
}

/// Keeps these capabilities and descriptors alone, and reads the state back.
fn keep_only(keep: u64, bounding: u64, keep_open: &[RawFd], found: &Status) -> Result<()> {
    // The kernel empties the ambient set by itself when the inheritable set is emptied.
    capabilities::set(Sets { effective: keep, permitted: keep, inheritable: 0 })
        .map_err(|error| call("drop the capabilities of the process that stays", error))?;
    if !found.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(|error| call("set no_new_privs", error))?;
    }
    identity::stay_unreadable()?;
    descriptors::close_inherited(keep_open)?;
    verify::verify_status(&Status {
        inheritable: 0,
        permitted: keep,
        effective: keep,
        bounding,
        ambient: 0,
        no_new_privileges: true,
        threads: 1,
        ..found.clone()
    })?;
    descriptors::verify(keep_open)
}

/// The capabilities that a supervisor keeps.
pub fn of_supervisor(isolation: &Isolation, duties: Duties, found: &ProcessState) -> u64 {
    planned_capabilities(isolation, &found.status, duties)
}

/// KILL, unless the app's uid is one of this process: kill(2) compares the sender's real and effective uid. To restart the app,
/// those that it keeps and those that change the ids, where these change.
fn planned_capabilities(isolation: &Isolation, found: &Status, duties: Duties) -> u64 {
    let kill = if found.uids[..2].contains(&isolation.uid) { 0 } else { bit(KILL) };
    let has_groups = found.gids == [isolation.gid; 4] && identity::groups(isolation, found) == found.groups;
    let again =
        [(found.uids != [isolation.uid; 4], bit(SETUID)), (!has_groups, bit(SETGID)), (true, isolation.capabilities)];
    let again = again.into_iter().filter(|(is_needed, _)| *is_needed && duties.restarts);
    again.fold(kill | duties.files, |set, (_, more)| set | more)
}
