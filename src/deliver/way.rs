//! The way to the files directory, walked on descriptors: who could replace a directory on it, and so give the app another directory
//! under the same path; and whether every reader of the files can enter each directory on it.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::failure::refusal;
use crate::error::Error;
use crate::sys::access_list::{AccessList, EXECUTE, Holder};
use crate::sys::fs::kind;

/// The most links that are followed, as in the kernel.
const MOST_LINKS: usize = 40;
const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// A reader of the files.
pub struct Reader {
    /// Its uid.
    pub uid: u32,
    /// All of its groups, where they are known.
    pub groups: Option<Vec<u32>>,
    /// Whether a capability lets it in everywhere.
    pub is_let_in: bool,
}

/// A directory, opened, and the way to it.
pub struct Way<'r> {
    /// The directory.
    pub end: OwnedFd,
    path: PathBuf,
    owned: Owned,
    /// The first entry on the way that others could replace.
    weakness: Option<Weakness>,
    readers: &'r [Reader],
    /// The first directory that a reader cannot enter, and its uid.
    barrier: Option<(u32, PathBuf, Owned)>,
}

/// The owner, group and mode of an entry.
#[derive(Clone, Copy)]
pub struct Owned {
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its mode.
    pub mode: u32,
}

impl Owned {
    /// Takes them from a status.
    pub fn of(status: &FileStat) -> Self {
        Self { uid: status.st_uid, gid: status.st_gid, mode: status.st_mode & 0o7777 }
    }
}

/// A directory or an entry that lets others replace an entry on the way.
struct Weakness {
    path: PathBuf,
    owned: Owned,
    has_list: bool,
}

impl<'r> Way<'r> {
    /// Walks to a directory as the kernel would, links included. `uid` is ours: root's and our own rights are no weakness.
    pub fn walk(path: &Path, uid: u32, readers: &'r [Reader]) -> nix::Result<Self> {
        let mut rest = Vec::new();
        push(&mut rest, path);
        let end = open("/", PLACE | OFlag::O_DIRECTORY, Mode::empty())?;
        let owned = Owned::of(&fstat(&end)?);
        let mut way = Self { end, path: PathBuf::from("/"), owned, weakness: None, readers, barrier: None };
        way.check_readers();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            let is_name = name != "/" && name != "..";
            let next = openat(&way.end, name.as_os_str(), PLACE | OFlag::O_NOFOLLOW, Mode::empty())?;
            let status = fstat(&next)?;
            if is_name {
                way.check_entry(&name, Owned::of(&status), uid);
            }
            match kind(&status) {
                SFlag::S_IFLNK => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    push(&mut rest, Path::new(&readlinkat(&next, "")?));
                }
                SFlag::S_IFDIR => {
                    let path = if is_name { way.path.join(&name) } else { above(&way.path, &name) };
                    way.reach(next, path, Owned::of(&status));
                }
                _ => return Err(Errno::ENOTDIR),
            }
        }
        Ok(way)
    }

    /// Goes on to a directory.
    fn reach(&mut self, end: OwnedFd, path: PathBuf, owned: Owned) {
        (self.end, self.path, self.owned) = (end, path, owned);
        self.check_readers();
    }

    /// Goes on to the last directory of the way, which contains the files: its mode counts too.
    pub fn arrive(&mut self, end: OwnedFd, name: &OsStr, owned: Owned) {
        self.reach(end, self.path.join(name), owned);
    }

    /// Notes the first directory that a reader cannot enter.
    fn check_readers(&mut self) {
        let kept_out = self.readers.iter().find(|reader| !reader.may_enter(self.owned, || access_list(&self.end)));
        if let (None, Some(reader)) = (&self.barrier, kept_out) {
            self.barrier = Some((reader.uid, self.path.clone(), self.owned));
        }
    }

    /// Fails if a reader could not reach the files in the directory at `path`.
    pub fn refuse_barrier(&self, path: &Path) -> Result<(), Error> {
        let Some((reader, closed, Owned { uid, gid, mode })) = &self.barrier else { return Ok(()) };
        let closed = closed.display();
        Err(refusal(format!(
            "cannot deliver files into `{}`: uid {reader}, who shall read them, cannot enter `{closed}`",
            path.display()
        ))
        .hint(format!(
            "`{closed}` belongs to {uid}:{gid}, with mode {mode:04o}: let uid {reader} in, or use another directory, such as \
             `/run/secrets`"
        )))
    }

    /// The first directory before the end that a reader cannot enter.
    pub fn closed_on_the_way(&self) -> Option<&Path> {
        self.barrier.as_ref().map(|(_, path, _)| path.as_path()).filter(|closed| *closed != self.path)
    }

    /// Notes the first entry that others could replace.
    pub fn check_entry(&mut self, name: &OsStr, entry: Owned, uid: u32) {
        if self.weakness.is_none()
            && let Some(weak) = weak(self.owned, entry, uid)
        {
            self.weakness = Some(match weak {
                Weak::Directory => {
                    let has_list = access_list(&self.end).is_some();
                    Weakness { path: self.path.clone(), owned: self.owned, has_list }
                }
                Weak::Entry => Weakness { path: self.path.join(name), owned: entry, has_list: false },
            });
        }
    }

    /// Fails if others could replace the directory at `path`, or a directory on the way to it.
    pub fn refuse_weakness(&self, path: &Path, uid: u32) -> Result<(), Error> {
        let Some(Weakness { path: weak, owned: Owned { uid: found, gid, mode }, has_list }) = &self.weakness else {
            return Ok(());
        };
        let with_list = if *has_list { " and an ACL" } else { "" };
        let owner = if uid == 0 { "root".into() } else { format!("root or uid {uid}") };
        Err(refusal(format!(
            "cannot deliver files into `{}`: others than {owner} could put something else in its place",
            path.display()
        ))
        .hint(format!(
            "`{}` belongs to {found}:{gid}, with mode {mode:04o}{with_list}: let {owner} own it and nobody else write there, or use another \
             directory, such as `/run/secrets`",
            weak.display()
        )))
    }
}

impl Reader {
    /// Whether the reader may enter a directory, by the mode, or else by the access list, as the kernel's `posix_acl_permission`
    /// decides. A list whose mask is empty does not count.
    fn may_enter(&self, directory: Owned, list: impl FnOnce() -> Option<AccessList>) -> bool {
        let may = |bits: u32| directory.mode & bits != 0;
        let is_in = |gid: u32| self.groups.as_ref().is_none_or(|groups| groups.contains(&gid));
        let by_mode = match &self.groups {
            _ if self.is_let_in => true,
            _ if directory.uid == self.uid => return may(0o100),
            Some(_) if is_in(directory.gid) => may(0o010),
            Some(_) => may(0o001),
            None => may(0o011),
        };
        by_mode || may(0o070) && list().is_some_and(|list| self.is_listed(directory, is_in, &list))
    }

    fn is_listed(&self, directory: Owned, is_in: impl Fn(u32) -> bool, list: &AccessList) -> bool {
        let is_user = |holder| holder == Holder::User(self.uid);
        let is_group = |holder| match holder {
            Holder::GroupOfFile => is_in(directory.gid),
            Holder::Group(gid) => is_in(gid),
            _ => false,
        };
        let grants = |is_meant: &dyn Fn(Holder) -> bool| list.holders(EXECUTE).any(is_meant);
        if list.names(is_user) {
            return grants(&is_user);
        }
        // A group without the right excludes the reader only if the reader is known to be in it.
        let is_known = self.groups.is_some() && list.names(is_group);
        grants(&is_group) || !is_known && grants(&|holder| holder == Holder::Others)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Weak {
    /// Others write the directory.
    Directory,
    /// The entry is another's in a sticky directory that others write.
    Entry,
}

/// Why others than root and `uid` can replace an entry of a directory; `None` if they cannot. A read-only mount is no excuse: the same
/// directory may be writable through another mount. An ACL that lets others write shows in the group's bits, which are its mask.
fn weak(directory: Owned, entry: Owned, uid: u32) -> Option<Weak> {
    let trusted = |owner| owner == 0 || owner == uid;
    let sticky = directory.mode & Mode::S_ISVTX.bits() != 0;
    match (trusted(directory.uid), directory.mode & 0o022 != 0) {
        (false, _) => Some(Weak::Directory),
        (true, false) => None,
        (true, true) if !sticky => Some(Weak::Directory),
        (true, true) if trusted(entry.uid) => None,
        (true, true) => Some(Weak::Entry),
    }
}

/// The access list of a directory, where it has one and it can be read.
fn access_list(directory: &OwnedFd) -> Option<AccessList> {
    AccessList::read(directory.as_fd()).unwrap_or_default()
}

/// Where `/` or `..` leads.
fn above(path: &Path, name: &OsStr) -> PathBuf {
    let above = if name == ".." { path.parent() } else { None };
    above.unwrap_or(Path::new("/")).to_owned()
}

/// Puts a path's parts on the stack of those that are still to be walked.
fn push(rest: &mut Vec<OsString>, path: &Path) {
    rest.extend(
        path.components().rev().filter(|part| *part != Component::CurDir).map(|part| part.as_os_str().to_owned()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::access_list;

    fn owned(uid: u32, mode: u32) -> Owned {
        Owned { uid, gid: 0, mode }
    }

    #[test]
    fn only_root_and_handfast_may_be_able_to_replace_what_is_on_the_way() {
        let judged = |directory: (u32, u32), owner| weak(owned(directory.0, directory.1), owned(owner, 0o755), 7);
        for owner in [0, 7] {
            assert_eq!(judged((owner, 0o755), 1000), None, "who owns an entry cannot rename it");
            for mode in [0o775, 0o757, 0o777] {
                assert_eq!(judged((owner, mode), 0), Some(Weak::Directory), "{mode:o}");
                assert_eq!(judged((owner, 0o1000 | mode), 0), None, "{mode:o}");
                assert_eq!(judged((owner, 0o1000 | mode), 7), None, "{mode:o}");
                assert_eq!(judged((owner, 0o1000 | mode), 1000), Some(Weak::Entry), "{mode:o}");
            }
        }
        assert_eq!(judged((1000, 0o755), 0), Some(Weak::Directory));
        assert_eq!(judged((1000, 0o1755), 0), Some(Weak::Directory));
    }

    #[test]
    fn who_enters_is_told_by_owner_groups_and_mode() {
        let directory = |mode| Owned { uid: 5, gid: 50, mode };
        let enters = |uid, groups: Option<&[u32]>, mode| {
            Reader { uid, groups: groups.map(<[u32]>::to_vec), is_let_in: false }.may_enter(directory(mode), || None)
        };
        assert!(enters(5, Some(&[]), 0o700) && !enters(5, Some(&[50]), 0o077));
        assert!(enters(6, Some(&[1, 50]), 0o710) && !enters(6, Some(&[50]), 0o701));
        assert!(enters(6, Some(&[1]), 0o701) && !enters(6, Some(&[1]), 0o750));
        // An init container's app may be in any group.
        assert!(enters(6, None, 0o710) && enters(6, None, 0o701) && !enters(6, None, 0o700));
        assert!(Reader { uid: 6, groups: None, is_let_in: true }.may_enter(directory(0), || None));
    }

    #[test]
    fn an_access_list_lets_in_whom_the_mode_keeps_out() {
        const NOBODY: u32 = u32::MAX;
        let enters = |uid, groups: Option<&[u32]>, mode, entries: &[(u16, u16, u32)]| {
            let base = [(1, 7, NOBODY), (4, 0, NOBODY), (16, 1, NOBODY), (32, 0, NOBODY)];
            let list = access_list::list(&[&base[..], entries].concat());
            Reader { uid, groups: groups.map(<[u32]>::to_vec), is_let_in: false }
                .may_enter(Owned { uid: 5, gid: 50, mode }, || Some(list))
        };
        let (user, group) = ((2, 7, 6), (8, 7, 60));
        assert!(enters(6, Some(&[]), 0o710, &[user]) && !enters(7, Some(&[]), 0o710, &[user]));
        assert!(enters(6, Some(&[60]), 0o710, &[group]) && !enters(6, Some(&[61]), 0o710, &[group]));
        assert!(enters(6, None, 0o710, &[group]), "an init container's app may be in any group");
        // The user's own entry counts before those of its groups, and an empty mask leaves nothing of the list.
        assert!(!enters(6, Some(&[60]), 0o710, &[(2, 0, 6), group]));
        assert!(!enters(6, Some(&[]), 0o700, &[user]));
        // The owner has the owner's bits alone.
        assert!(!enters(5, Some(&[60]), 0o010, &[group]));
    }

    #[test]
    fn a_way_leads_where_the_kernels_leads() {
        let place = std::env::temp_dir().join(format!("handfast-way-{}", std::process::id()));
        std::fs::create_dir_all(place.join("a/b")).unwrap();
        std::os::unix::fs::symlink("../a/./b/..", place.join("a/link")).unwrap();
        std::os::unix::fs::symlink(place.join("a/link"), place.join("absolute")).unwrap();
        std::os::unix::fs::symlink("loop", place.join("loop")).unwrap();
        std::fs::write(place.join("file"), "").unwrap();
        for path in ["", "a", "a/b", "a/link/b", "absolute/b/../link", "a/../../.."] {
            let way = Way::walk(&place.join(path), 0, &[]).unwrap();
            let (found, expected) = (fstat(&way.end).unwrap(), nix::sys::stat::stat(&place.join(path)).unwrap());
            assert_eq!((found.st_dev, found.st_ino), (expected.st_dev, expected.st_ino), "{path}");
            assert_eq!(way.path, place.join(path).canonicalize().unwrap());
        }
        let error = |path: &str| Way::walk(&place.join(path), 0, &[]).map(drop).unwrap_err();
        assert_eq!((error("loop/x"), error("none"), error("file/x")), (Errno::ELOOP, Errno::ENOENT, Errno::ENOTDIR));
        std::fs::remove_dir_all(&place).unwrap();
    }
}
