//! The read-back: the proof of success is the state that the kernel reports, not the return codes of the calls.
#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::os::fd::RawFd;

use nix::unistd::{Gid, Uid, setresgid, setresuid};

use super::core_limit::CoreLimit;
use super::descriptors;
use super::failure::{call, failed};
use super::identity::Bounding;
use super::status::Status;
use crate::error::{Error, Result};
use crate::plan::Isolation;
use crate::sys::capabilities::{self, KEEP_CAPS, SETGID, SETUID, bit, names};

/// Fails if any part of the state differs from the plan.
pub(super) fn verify(
    isolation: &Isolation,
    groups: &[u32],
    keep_open: &[RawFd],
    core_limit: CoreLimit,
    bounding: Bounding,
    securebits: u32,
) -> Result<()> {
    verify_status(&planned(isolation, groups, bounding))?;
    refuse_way_back(isolation)?;
    let securebits_now = capabilities::securebits().map_err(|error| call("read the securebits", error))?;
    if securebits_now != securebits & !KEEP_CAPS {
        return Err(failed(format!("the securebits are {securebits_now:#x}, planned {:#x}", securebits & !KEEP_CAPS)));
    }
    core_limit.verify(isolation.core_dumps)?;
    descriptors::verify(keep_open)
}

/// Fails if the status of this process differs from the planned one.
pub(super) fn verify_status(planned: &Status) -> Result<()> {
    match &mismatches(planned, &Status::read()?)[..] {
        [] => Ok(()),
        mismatches => {
            Err(failed(format!("the isolation reads back otherwise than planned: {}", mismatches.join("; "))))
        }
    }
}

/// The app's status.
fn planned(isolation: &Isolation, groups: &[u32], bounding: Bounding) -> Status {
    let keep = isolation.capabilities;
    Status {
        uids: [isolation.uid; 4],
        gids: [isolation.gid; 4],
        groups: groups.to_vec(),
        inheritable: keep,
        permitted: keep,
        effective: keep,
        bounding: bounding.set(keep),
        ambient: keep,
        no_new_privileges: true,
        threads: 1,
    }
}

/// Tries to become root again, unless the plan allows that. Fails if it works.
fn refuse_way_back(isolation: &Isolation) -> Result<()> {
    let came_back = |what: &str| -> Error { failed(format!("{what} 0 could be taken back after it was given up")) };
    if isolation.uid != 0 && isolation.capabilities & bit(SETUID) == 0 {
        let root = Uid::from_raw(0);
        if setresuid(root, root, root).is_ok() {
            return Err(came_back("uid"));
        }
    }
    if isolation.gid != 0 && isolation.capabilities & bit(SETGID) == 0 {
        let root = Gid::from_raw(0);
        if setresgid(root, root, root).is_ok() {
            return Err(came_back("gid"));
        }
    }
    Ok(())
}

/// The differences between the state and the plan.
fn mismatches(planned: &Status, now: &Status) -> Vec<String> {
    let mut list = Vec::new();
    for (what, now, planned) in [("uids", now.uids, planned.uids), ("gids", now.gids, planned.gids)] {
        if now != planned {
            let planned = if planned == [planned[0]; 4] { planned[0].to_string() } else { format!("{planned:?}") };
            list.push(format!("{what} {now:?}, planned {planned}"));
        }
    }
    let mut compare = |what: &str, now: &dyn Debug, planned: &dyn Debug, same: bool| {
        if !same {
            list.push(format!("{what} {now:?}, planned {planned:?}"));
        }
    };
    compare("groups", &now.groups, &planned.groups, now.groups == planned.groups);
    let privileges = (now.no_new_privileges, planned.no_new_privileges);
    compare("no_new_privs", &privileges.0, &privileges.1, privileges.0 == privileges.1);
    compare("threads", &now.threads, &planned.threads, now.threads == planned.threads);
    for (what, set, planned) in [
        ("inheritable", now.inheritable, planned.inheritable),
        ("permitted", now.permitted, planned.permitted),
        ("effective", now.effective, planned.effective),
        ("ambient", now.ambient, planned.ambient),
        ("bounding", now.bounding, planned.bounding),
    ] {
        if set != planned {
            list.push(format!("{what} capabilities {}, planned {}", names(set), names(planned)));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolation() -> Isolation {
        Isolation {
            uid: 1000,
            gid: 1001,
            groups: vec![4, 27],
            defaulted: false,
            capabilities: bit(10),
            core_dumps: false,
            strict: false,
        }
    }

    fn as_planned() -> Status {
        Status {
            uids: [1000; 4],
            gids: [1001; 4],
            groups: vec![4, 27],
            inheritable: bit(10),
            permitted: bit(10),
            effective: bit(10),
            bounding: bit(10),
            ambient: bit(10),
            no_new_privileges: true,
            threads: 1,
        }
    }

    #[test]
    fn a_state_as_planned_has_no_mismatch() {
        assert_eq!(
            mismatches(&planned(&isolation(), &[4, 27], Bounding::AsPlanned), &as_planned()),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_single_difference_is_named() {
        let mut cases: Vec<(Status, &str)> = Vec::new();
        for index in 0..4 {
            let (mut uid, mut gid) = (as_planned(), as_planned());
            uid.uids[index] = 0;
            gid.gids[index] = 0;
            cases.push((uid, "uids"));
            cases.push((gid, "gids"));
        }
        cases.push((Status { groups: vec![4], ..as_planned() }, "groups [4], planned [4, 27]"));
        cases.push((Status { groups: vec![0, 4, 27], ..as_planned() }, "groups"));
        cases.push((Status { no_new_privileges: false, ..as_planned() }, "no_new_privs false, planned true"));
        cases.push((Status { threads: 2, ..as_planned() }, "threads 2, planned 1"));
        for set in [0, bit(10) | bit(0), bit(63)] {
            cases.push((Status { inheritable: set, ..as_planned() }, "inheritable capabilities"));
            cases.push((Status { permitted: set, ..as_planned() }, "permitted capabilities"));
            cases.push((Status { effective: set, ..as_planned() }, "effective capabilities"));
            cases.push((Status { ambient: set, ..as_planned() }, "ambient capabilities"));
            cases.push((Status { bounding: set, ..as_planned() }, "bounding capabilities"));
        }
        for (status, expected) in cases {
            let found = mismatches(&planned(&isolation(), &[4, 27], Bounding::AsPlanned), &status);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(expected), "{found:?}");
        }
    }

    #[test]
    fn a_bounding_set_that_could_not_change_must_be_as_found() {
        let status = Status { bounding: 0xff, ..as_planned() };
        assert!(mismatches(&planned(&isolation(), &[4, 27], Bounding::AsFound(0xff)), &status).is_empty());
        assert_eq!(mismatches(&planned(&isolation(), &[4, 27], Bounding::AsFound(0xf)), &status).len(), 1);
    }
}
