//! The owner, group and mode of each file: decided before the fetch, from handfast's capabilities and the files directory.
#![forbid(unsafe_code)]

use nix::sys::prctl;
use nix::unistd::{Gid, setfsgid};

use super::entries::LinkKind;
use super::powers::Powers;
use crate::error::{Class, Error, Phase, Result, reason};
use crate::sys::capabilities::{CHOWN, FOWNER, SETGID, bit};

/// The owner, group and mode that a file will have, and read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its mode.
    pub mode: u32,
    /// How it falls short of the request, if it does.
    pub compromise: Option<Compromise>,
}

/// How a file falls short of the requested access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compromise {
    /// It stays ours, and its reader gets it through the group.
    ThroughGroup,
    /// It has the right owner and not the right group, so the mode gives the group no rights.
    WithoutGroup,
}

/// The requested owner, group and mode of a file.
#[derive(Clone, Copy, Debug)]
pub struct RequestedAccess {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The mode.
    pub mode: u32,
    /// Whether the configuration names this owner for this file; else it is the app's.
    pub named: bool,
}

/// The decision for one file. `inherited` is the directory's group where it has the setgid bit; `reader` is the app's gid
/// and groups where they are known (an init container's app may have more groups than the configuration says).
///
/// `None` if handfast can set neither the owner nor the group.
pub fn decide(
    powers: &Powers,
    wanted: RequestedAccess,
    inherited: Option<u32>,
    reader: Option<&[u32]>,
) -> Option<Access> {
    let preferred = if wanted.named { [Some(wanted.gid), inherited] } else { [inherited, Some(wanted.gid)] };
    let mut groups = preferred
        .into_iter()
        .flatten()
        .filter(|gid| inherited == Some(*gid) || can_give_group(powers, *gid) || powers.has(CHOWN));
    let RequestedAccess { uid, mode, named, .. } = wanted;
    if uid == powers.uid || powers.has(CHOWN) {
        return Some(match groups.next() {
            Some(gid) => Access { uid, gid, mode, compromise: None },
            None => {
                let compromise = (mode & 0o070 != 0).then_some(Compromise::WithoutGroup);
                Access { uid, gid: inherited.unwrap_or(powers.gid), mode: mode & !0o070, compromise }
            }
        });
    }
    let reads = |gid: &u32| named || reader.is_none_or(|groups| groups.contains(gid));
    let gid = groups.find(reads)?;
    Some(Access { uid: powers.uid, gid, mode: mode | 0o440, compromise: Some(Compromise::ThroughGroup) })
}

/// The capabilities with which later files of this kind are written: no others are needed, a bit per number.
pub fn needed_later<'a>(
    accesses: impl Iterator<Item = &'a Access> + Clone,
    link_kind: LinkKind,
    inherited: Option<u32>,
    powers: &Powers,
) -> u64 {
    let is_foreign = |uid: u32| uid != powers.uid;
    let links = matches!(link_kind, LinkKind::Symbolic { owner } if is_foreign(owner));
    let files = accesses.clone().any(|access| is_foreign(access.uid));
    let groups = accesses.clone().any(|access| inherited != Some(access.gid) && !powers.in_group(access.gid));
    let needed: &[u8] = match (links || files, groups) {
        // The second one to link another's file into the next set, and to replace another's link in a sticky directory.
        (true, _) => &[CHOWN, FOWNER],
        (false, true) if powers.has(SETGID) => &[SETGID],
        (false, true) => &[CHOWN],
        (false, false) => &[],
    };
    needed.iter().map(|capability| powers.capabilities & bit(*capability)).sum()
}

/// Whether what we make can get this group without CAP_CHOWN: the owner may give a file to a group that the owner is in,
/// and with CAP_SETGID any group is ours for the moment that it takes.
pub fn can_give_group(powers: &Powers, gid: u32) -> bool {
    powers.in_group(gid) || powers.has(SETGID)
}

/// Runs `work` with `gid` as the group of new files, if handfast cannot set this group in another way; then restores the old group.
/// Reads each change back, because `setfsgid` reports no failure.
pub fn with_group<T>(powers: &Powers, gid: u32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if powers.in_group(gid) || powers.has(CHOWN) || !powers.has(SETGID) {
        return work();
    }
    let before = change_group(Gid::from_raw(gid))?;
    if current_group() != Gid::from_raw(gid) {
        return Err(super::failure::refusal(format!("cannot make files with group {gid}: setfsgid was denied"))
            .hint("allow setfsgid, or start handfast with this group"));
    }
    let done = work();
    change_group(before)?;
    if current_group() != before {
        return Err(isolation(format!("cannot take back the group {before} for files: it stays {}", current_group())));
    }
    done
}

/// Changes the group of new files, and returns the earlier one. Each change of credentials sets the dumpable flag to the value of
/// `fs.suid_dumpable`, so the flag is cleared again: other processes of this uid must not read this one.
fn change_group(gid: Gid) -> Result<Gid> {
    let before = setfsgid(gid);
    let failed = |error| isolation(format!("cannot make this process unreadable for others: {}", reason(error)));
    prctl::set_dumpable(false).map_err(failed)?;
    if prctl::get_dumpable().map_err(failed)? {
        return Err(isolation("cannot make this process unreadable for others: it stays dumpable".into()));
    }
    Ok(before)
}

fn isolation(message: String) -> Error {
    Error::new(Phase::Deliver, Class::Isolation, message)
}

/// An invalid gid changes nothing, and the answer is the present one.
fn current_group() -> Gid {
    setfsgid(Gid::from_raw(u32::MAX))
}

/// The warning for files that stay ours.
pub fn through_group_warning(uid: u32, names: &[&str]) -> String {
    format!(
        "{} stays owned by uid {uid} and is readable through its group, with mode 0440: handfast lacks CAP_CHOWN",
        list(names)
    )
}

/// The warning for files whose group gets no rights.
pub fn without_group_warning(gid: u32, names: &[&str]) -> String {
    format!(
        "{} does not get group {gid} and is not readable by its group: handfast lacks CAP_CHOWN and CAP_SETGID",
        list(names)
    )
}

/// The refusal if handfast can set neither the owner nor the group.
pub fn impossible(name: &str, wanted: RequestedAccess, powers: &Powers) -> Error {
    super::failure::refusal(format!(
        "cannot make `{name}` readable for {}:{}: handfast is {}:{} without CAP_CHOWN and CAP_SETGID, and not in that group",
        wanted.uid, wanted.gid, powers.uid, powers.gid
    ))
    .hint(format!(
        "add the capability CHOWN, start handfast as uid {}, or give it group {} (Kubernetes: `fsGroup`)",
        wanted.uid, wanted.gid
    ))
}

/// Names for a message: `a`, `b`.
pub fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn powers(uid: u32, gid: u32, groups: &[u32], capabilities: u64) -> Powers {
        Powers { uid, gid, groups: groups.to_vec(), capabilities, ..Powers::default() }
    }

    fn app(uid: u32, gid: u32, mode: u32) -> RequestedAccess {
        RequestedAccess { uid, gid, mode, named: false }
    }

    fn decided(
        powers: Powers,
        wanted: RequestedAccess,
        inherited: Option<u32>,
    ) -> Option<(u32, u32, u32, Option<Compromise>)> {
        decide(&powers, wanted, inherited, Some(&[wanted.gid]))
            .map(|access| (access.uid, access.gid, access.mode, access.compromise))
    }

    #[test]
    fn with_chown_the_file_is_the_apps() {
        let root = powers(0, 0, &[], bit(CHOWN) | bit(SETGID));
        assert_eq!(decided(root.clone(), app(1000, 2000, 0o400), None), Some((1000, 2000, 0o400, None)));
        assert_eq!(decided(root.clone(), app(1000, 2000, 0o400), Some(3000)), Some((1000, 3000, 0o400, None)));
        assert_eq!(
            decided(powers(0, 0, &[], bit(CHOWN)), app(1000, 2000, 0o440), None),
            Some((1000, 2000, 0o440, None))
        );
    }

    #[test]
    fn a_named_owner_is_above_the_setgid_directory() {
        let named = RequestedAccess { named: true, ..app(5, 6, 0o440) };
        assert_eq!(decided(powers(0, 0, &[], bit(CHOWN)), named, Some(3000)), Some((5, 6, 0o440, None)));
        assert_eq!(decided(powers(5, 5, &[], 0), named, Some(3000)), Some((5, 3000, 0o440, None)));
    }

    #[test]
    fn the_same_user_needs_no_capability() {
        assert_eq!(decided(powers(7, 8, &[9], 0), app(7, 8, 0o400), None), Some((7, 8, 0o400, None)));
        assert_eq!(decided(powers(7, 8, &[9], 0), app(7, 9, 0o440), None), Some((7, 9, 0o440, None)));
        assert_eq!(decided(powers(7, 8, &[], bit(SETGID)), app(7, 9, 0o440), None), Some((7, 9, 0o440, None)));
        assert_eq!(decided(powers(7, 8, &[], 0), app(7, 9, 0o400), None), Some((7, 8, 0o400, None)));
        let lost = Some((7, 8, 0o400, Some(Compromise::WithoutGroup)));
        assert_eq!(decided(powers(7, 8, &[], 0), app(7, 9, 0o440), None), lost);
    }

    #[test]
    fn without_chown_the_group_reads() {
        let through = |uid, gid, mode| Some((uid, gid, mode, Some(Compromise::ThroughGroup)));
        assert_eq!(decided(powers(0, 0, &[], bit(SETGID)), app(1000, 2000, 0o400), None), through(0, 2000, 0o440));
        assert_eq!(decided(powers(0, 0, &[2000], 0), app(1000, 2000, 0o400), None), through(0, 2000, 0o440));
        assert_eq!(decided(powers(9, 2000, &[], 0), app(1000, 2000, 0o600), None), through(9, 2000, 0o640));
        assert_eq!(decided(powers(0, 0, &[], 0), app(1000, 2000, 0o400), Some(2000)), through(0, 2000, 0o440));
        assert_eq!(decided(powers(0, 0, &[], 0), app(1000, 2000, 0o400), None), None);
    }

    #[test]
    fn the_directorys_group_counts_only_where_the_app_can_be_in_it() {
        // `run` knows the app's groups: one that the app is not in lets nobody read.
        let through = |uid, gid, mode| Some((uid, gid, mode, Some(Compromise::ThroughGroup)));
        assert_eq!(
            decided(powers(0, 0, &[], bit(SETGID)), app(1000, 2000, 0o400), Some(3000)),
            through(0, 2000, 0o440)
        );
        assert_eq!(decided(powers(0, 0, &[], 0), app(1000, 2000, 0o400), Some(3000)), None);
        // `init` does not: fsGroup is given to every container of the pod.
        let access = decide(&powers(0, 0, &[], 0), app(1000, 2000, 0o400), Some(3000), None).unwrap();
        assert_eq!((access.uid, access.gid, access.mode), (0, 3000, 0o440));
    }

    #[test]
    fn later_files_need_no_more_than_their_owner_and_group_say() {
        let root = || powers(0, 0, &[7], bit(CHOWN) | bit(SETGID) | bit(FOWNER));
        let access = |uid, gid| Access { uid, gid, mode: 0o400, compromise: None };
        let ours = LinkKind::Symbolic { owner: 0 };
        let needed = |access: Access, names, powers| needed_later([access].iter(), names, Some(9), &powers);
        assert_eq!(needed(access(0, 0), ours, root()), 0);
        assert_eq!(needed(access(0, 7), LinkKind::Hard, root()), 0, "a group of ours");
        assert_eq!(needed(access(0, 9), ours, root()), 0, "the directory's group");
        assert_eq!(needed(access(0, 5), ours, root()), bit(SETGID));
        assert_eq!(needed(access(0, 5), ours, powers(0, 0, &[], bit(CHOWN))), bit(CHOWN));
        assert_eq!(needed(access(5, 5), ours, root()), bit(CHOWN) | bit(FOWNER));
        assert_eq!(needed(access(0, 0), LinkKind::Symbolic { owner: 5 }, root()), bit(CHOWN) | bit(FOWNER));
        assert_eq!(needed(access(5, 5), ours, powers(5, 5, &[], 0)), 0);
    }

    #[test]
    fn the_refusal_names_all_ids() {
        let error = impossible("db", app(1000, 2000, 0o400), &powers(0, 0, &[], 0));
        assert_eq!(
            error.message,
            "cannot make `db` readable for 1000:2000: handfast is 0:0 without CAP_CHOWN and CAP_SETGID, and not in that group"
        );
        assert_eq!(error.class, Class::Deliver);
        assert_eq!(
            error.hint.unwrap(),
            "add the capability CHOWN, start handfast as uid 1000, or give it group 2000 (Kubernetes: `fsGroup`)"
        );
    }

    #[test]
    fn the_warnings_name_the_files() {
        assert_eq!(
            through_group_warning(0, &["a", "b"]),
            "`a`, `b` stays owned by uid 0 and is readable through its group, with mode 0440: handfast lacks CAP_CHOWN"
        );
        assert_eq!(
            without_group_warning(7, &["a"]),
            "`a` does not get group 7 and is not readable by its group: handfast lacks CAP_CHOWN and CAP_SETGID"
        );
    }

    #[test]
    fn the_group_is_taken_back() {
        let mut powers = Powers::read().unwrap();
        powers.capabilities &= !bit(CHOWN);
        if !powers.has(SETGID) {
            eprintln!("skipped: the_group_is_taken_back: needs root");
            return;
        }
        // setfsgid is a matter of the thread alone, so this cannot disturb the other tests.
        let inside = with_group(&powers, 54321, || Ok(current_group())).unwrap();
        assert_eq!(inside.as_raw(), 54321);
        assert_eq!(current_group().as_raw(), powers.gid);
        // With CAP_CHOWN the group is given later.
        powers.capabilities |= bit(CHOWN);
        let inside = with_group(&powers, 54321, || Ok(current_group())).unwrap();
        assert_eq!(inside.as_raw(), powers.gid);
        assert_eq!(current_group().as_raw(), powers.gid);
    }
}
