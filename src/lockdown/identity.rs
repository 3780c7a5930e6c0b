//! Changes groups, gid, uid and capabilities of this process, in an order in which each change is still permitted.
#![forbid(unsafe_code)]

use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::failure::{call, fell_short};
use super::status::Status;
use crate::error::Result;
use crate::plan::Isolation;
use crate::sys::capabilities::{self, NO_SETUID_FIXUP, SETGID, SETPCAP, Sets, bit, names, numbers};

/// The bounding set that the read-back must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounding {
    /// Exactly the planned capabilities.
    AsPlanned,
    /// The inherited set: it could not be changed.
    AsFound(u64),
}

impl Bounding {
    /// The capabilities in it.
    pub(super) fn set(self, planned: u64) -> u64 {
        match self {
            Self::AsPlanned => planned,
            Self::AsFound(found) => found,
        }
    }
}

/// Makes the permitted capabilities effective. The steps below use them; `change` drops those that do not stay.
pub(super) fn make_effective(found: &Status) -> Result<()> {
    if found.effective == found.permitted {
        return Ok(());
    }
    capabilities::set(Sets { effective: found.permitted, permitted: found.permitted, inheritable: found.inheritable })
        .map_err(|error| call("make the permitted capabilities effective", error))
}

/// Removes all capabilities except the planned ones from the bounding set, and says what could not be done.
pub(super) fn shrink_bounding(isolation: &Isolation, planned: u64, found: &Status) -> Result<Bounding> {
    let (bounding, shortcoming) = try_to_shrink_bounding(planned, found)?;
    match shortcoming {
        // This is so for every start that is not root's. With no_new_privs, nobody can gain anything from the set, so no warning
        // is needed.
        Some(shortcoming) if shortcoming == WITHOUT_SETPCAP && !isolation.strict => {
            tracing::info!(target: "handfast", "{shortcoming}");
        }
        Some(shortcoming) => fell_short(isolation, &shortcoming)?,
        None => {}
    }
    Ok(bounding)
}

/// The same without a word: returns what could not be done.
pub(super) fn try_to_shrink_bounding(planned: u64, found: &Status) -> Result<(Bounding, Option<String>)> {
    let surplus = found.bounding & !planned;
    if surplus != 0 && found.permitted & bit(SETPCAP) == 0 {
        return Ok((Bounding::AsFound(found.bounding), Some(WITHOUT_SETPCAP.to_owned())));
    }
    for number in numbers(surplus) {
        if let Err(error) = capabilities::drop_bounding(number) {
            let shortcoming = call(&format!("drop {} from the bounding set", names(bit(number))), error).message;
            return Ok((Bounding::AsFound(Status::read()?.bounding), Some(shortcoming)));
        }
    }
    Ok((Bounding::AsPlanned, None))
}

/// Why the bounding set is not changed.
pub(super) const WITHOUT_SETPCAP: &str =
    "the capability bounding set stays as found: changing it needs the capability SETPCAP";

/// The supplementary groups that the app will have: the plan's, or the inherited ones if this process may not change them and
/// they differ only by the app's own gid. Container engines list the gid among the groups too, which gives the app no further
/// right.
pub(super) fn groups<'a>(isolation: &'a Isolation, found: &'a Status) -> &'a [u32] {
    let others = |groups: &[u32]| groups.iter().copied().filter(|gid| *gid != isolation.gid).collect::<Vec<_>>();
    let same = others(&found.groups) == others(&isolation.groups);
    if same && found.permitted & bit(SETGID) == 0 { &found.groups } else { &isolation.groups }
}

/// Becomes the app's user: sets the groups, the gid, the uid, then exactly the capabilities that the plan keeps.
pub(super) fn change(isolation: &Isolation, found: &Status, securebits: u32) -> Result<()> {
    let keep = isolation.capabilities;
    if found.ambient != 0 {
        capabilities::clear_ambient().map_err(|error| call("clear the ambient capabilities", error))?;
    }
    let keeps_over_setuid = needs_keep(isolation, found, securebits);
    if keeps_over_setuid {
        capabilities::set_keep(true).map_err(|error| call("keep capabilities over the change of uid", error))?;
    }
    let planned = groups(isolation, found);
    if found.groups != planned {
        let groups: Vec<Gid> = planned.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).map_err(|error| call(&format!("set the groups to {planned:?}"), error))?;
    }
    if found.gids != [isolation.gid; 4] {
        let gid = Gid::from_raw(isolation.gid);
        setresgid(gid, gid, gid).map_err(|error| call(&format!("set the gid to {gid}"), error))?;
    }
    if found.uids != [isolation.uid; 4] {
        let uid = Uid::from_raw(isolation.uid);
        setresuid(uid, uid, uid).map_err(|error| call(&format!("set the uid to {uid}"), error))?;
    }
    if found.gids != [isolation.gid; 4] || found.uids != [isolation.uid; 4] {
        stay_unreadable()?;
    }
    let planned = Sets { effective: keep, permitted: keep, inheritable: keep };
    if capabilities::sets().map_err(|error| call("read the capabilities", error))? != planned {
        capabilities::set(planned).map_err(|error| call(&format!("set the capabilities to {}", names(keep)), error))?;
    }
    for number in numbers(keep) {
        capabilities::raise_ambient(number)
            .map_err(|error| call(&format!("keep the capability {} over exec", names(bit(number))), error))?;
    }
    if keeps_over_setuid {
        capabilities::set_keep(false).map_err(|error| call("stop keeping capabilities over a change of uid", error))?;
    }
    Ok(())
}

/// Clears the dumpable flag again, because each change of uid or gid sets it to the value of `fs.suid_dumpable`. Other processes
/// of the app's uid must not read this process as long as it is handfast.
pub(super) fn stay_unreadable() -> Result<()> {
    let failed = |error| call("make this process unreadable for others", error);
    prctl::set_dumpable(false).map_err(failed)?;
    if prctl::get_dumpable().map_err(failed)? {
        return Err(super::failed("cannot make this process unreadable for others: it stays dumpable"));
    }
    Ok(())
}

/// Whether the change of uid would drop the capabilities that the plan keeps.
pub(super) fn needs_keep(isolation: &Isolation, found: &Status, securebits: u32) -> bool {
    isolation.capabilities != 0
        && isolation.uid != 0
        && found.uids[..3].contains(&0)
        && securebits & NO_SETUID_FIXUP == 0
}
