//! Finds out what lockdown cannot do, before anything is fetched.
#![forbid(unsafe_code)]

use std::cell::LazyCell;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::failure::failed;
use super::identity::{self, WITHOUT_SETPCAP, needs_keep};
use super::state::ProcessState;
use super::status::Status;
use super::stdio;
use crate::error::{Error, Result, reason};
use crate::plan::Isolation;
use crate::sys::capabilities::{CHOWN, KEEP_CAPS_LOCKED, NO_AMBIENT_RAISE, SETGID, SETPCAP, SETUID, bit, names};

/// Refuses a plan that [`lock`](super::lock) could not carry out from the present state. Returns one sentence for each
/// best-effort step that will not work.
pub fn refuse_impossible(isolation: &Isolation, found: &ProcessState) -> Result<Vec<String>> {
    let ProcessState { status: found, securebits } = found;
    refuse_ids(isolation, found)?;
    refuse_capabilities(isolation, found, *securebits)?;
    let mut shortcomings = Vec::new();
    if found.permitted & bit(SETPCAP) == 0 && found.bounding & !isolation.capabilities != 0 {
        shortcomings.push(WITHOUT_SETPCAP.to_owned());
    }
    if found.permitted & bit(CHOWN) == 0 && stdio::any_concerned(isolation)? {
        shortcomings.push(stdio::WITHOUT_CHOWN.to_owned());
    }
    match shortcomings.first() {
        Some(first) if isolation.strict => Err(failed(first).hint("[app] strict = true makes this a failure")),
        _ => Ok(shortcomings),
    }
}

/// The bounding set that the app will have.
pub fn bounding_after(isolation: &Isolation) -> Result<u64> {
    let found = Status::read()?;
    Ok(if found.permitted & bit(SETPCAP) == 0 { found.bounding } else { found.bounding & isolation.capabilities })
}

fn refuse_ids(isolation: &Isolation, found: &Status) -> Result<()> {
    let (uid, gid) = (isolation.uid, isolation.gid);
    // On most machines, this one check replaces reading two or three files.
    let everything_goes = LazyCell::new(in_first_user_namespace);
    let refuse_unmapped = |map: &str, id: u32, what: &str| {
        if *everything_goes { Ok(()) } else { refuse_unmapped(map, id, what) }
    };
    if found.uids != [uid; 4] {
        let what = format!("set the uid to {uid}");
        need(isolation, found, SETUID, &what)?;
        refuse_unmapped("uid_map", uid, &what)?;
    }
    if found.gids != [gid; 4] {
        let what = format!("set the gid to {gid}");
        need(isolation, found, SETGID, &what)?;
        refuse_unmapped("gid_map", gid, &what)?;
    }
    if found.groups != identity::groups(isolation, found) {
        let what = match &isolation.groups[..] {
            [] => format!("give up the groups {:?}", found.groups),
            groups => format!("set the groups to {groups:?}"),
        };
        need(isolation, found, SETGID, &what)?;
        for group in &isolation.groups {
            refuse_unmapped("gid_map", *group, &what)?;
        }
        // The file is missing if the kernel has no user namespaces: then nothing denies setgroups.
        if !*everything_goes && fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny")) {
            return Err(failed(format!("cannot {what}: this user namespace denies setgroups"))
                .hint("let newgidmap write the namespace's gid_map, or configure groups as they are now"));
        }
    }
    Ok(())
}

fn need(isolation: &Isolation, found: &Status, capability: u8, what: &str) -> Result<()> {
    if found.permitted & bit(capability) != 0 {
        return Ok(());
    }
    let failed = failed(format!("cannot {what}: the capability {} is missing", names(bit(capability))));
    // If handfast was started as root, the ids must change, so leaving `user` out is no remedy.
    Err(if isolation.defaulted || found.uids.contains(&0) {
        failed.hint("add the capabilities SETUID and SETGID to the container, or start it as that user and group")
    } else {
        failed.hint(
            "add the capabilities SETUID and SETGID to the container, or start it as that user and group, or leave `user` out (where \
             the platform chooses the uid, such as OpenShift)",
        )
    })
}

/// The inode of the user namespace that the machine started with, which maps every id (`PROC_USER_INIT_INO`,
/// include/linux/proc_ns.h).
const FIRST_USER_NAMESPACE: u64 = 0xeffffffd;

fn in_first_user_namespace() -> bool {
    fs::metadata("/proc/self/ns/user").is_ok_and(|namespace| namespace.ino() == FIRST_USER_NAMESPACE)
}

/// Fails if the id does not exist in this user namespace. Each line of the map has an id inside the namespace, an id outside, and
/// a length.
fn refuse_unmapped(map: &str, id: u32, what: &str) -> Result<()> {
    let path = format!("/proc/self/{map}");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        // A kernel without user namespaces maps every id.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(format!("cannot read `{path}`: {}", reason(error)))),
    };
    if is_mapped(&text, id) {
        return Ok(());
    }
    Err(failed(format!("cannot {what}: this user namespace does not map {id}"))
        .hint(format!("map it (subuid, subgid), or use an id that `{path}` shows")))
}

fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, length] if (first..first + length).contains(&u64::from(id)))
    })
}

fn refuse_capabilities(isolation: &Isolation, found: &Status, securebits: u32) -> Result<()> {
    let keep = isolation.capabilities;
    let cannot_keep = |which: u64, why: &str| -> Error {
        failed(format!("cannot keep the capabilities {}: {why}", names(which)))
            .hint("add them to the container (cap_add, securityContext.capabilities.add), or take them from keep_capabilities")
    };
    let missing = keep & !found.permitted;
    if missing != 0 {
        return Err(cannot_keep(missing, "this process does not have them"));
    }
    let unbounded = keep & !found.bounding;
    if unbounded != 0 {
        return Err(cannot_keep(unbounded, "they are not in the bounding set"));
    }
    if keep != 0 && securebits & NO_AMBIENT_RAISE != 0 {
        return Err(cannot_keep(keep, "the securebit NO_CAP_AMBIENT_RAISE is set"));
    }
    if needs_keep(isolation, found, securebits) && securebits & KEEP_CAPS_LOCKED != 0 {
        return Err(cannot_keep(keep, "the securebit KEEP_CAPS is locked"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_look_is_enough_the_map_says_the_same() {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap();
        let whole = map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"];
        assert!(whole || !in_first_user_namespace(), "{map}");
    }

    #[test]
    fn an_id_is_mapped_where_a_line_covers_it() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        for (id, expected) in [(0, true), (1, true), (65536, true), (65537, false), (u32::MAX, false)] {
            assert_eq!(is_mapped(map, id), expected, "{id}");
        }
        assert!(is_mapped("0 0 4294967295", 4_294_967_294));
        assert!(!is_mapped("", 0));
        assert!(!is_mapped("0 0\nx y z\n", 0));
    }
}
