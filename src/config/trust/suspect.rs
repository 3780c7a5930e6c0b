//! Why a file is not trusted: the place on its path, who may change the file there, and how to prevent that.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat::FileStat;

use crate::error::reason;

/// An identity that the app may have.
#[derive(Clone, Copy, Debug)]
pub struct App<'a> {
    /// Its uid.
    pub uid: u32,
    /// Its gid.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: &'a [u32],
}

/// A place at which somebody who is not trusted may change or replace a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    path: PathBuf,
    kind: Kind,
    owner: (u32, u32),
    mode: u32,
    fault: Fault,
}

/// The kind of the entry at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
}

/// The problem with the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It belongs to a uid that is not trusted. On a read-only mount, this only matters if the uid is the app's.
    Owner { read_only: bool },
    /// The mode lets everybody write.
    Everybody,
    /// The mode lets its group write. Group 0 only matters if the app is a member.
    Group,
    /// The access list lets a uid write.
    ListedUser(u32),
    /// The access list lets a group write. Group 0 only matters if the app is a member.
    ListedGroup(u32),
    /// A link of an untrusted owner in a sticky directory that others may write.
    Link,
    /// A FUSE file system, served by a program of this uid.
    Fuse(u32),
    /// A kernel file system whose files have content that processes choose.
    Kernel(&'static str),
    /// A pipe, a device, a socket.
    NoRegularFile,
    /// The file was replaced while it was checked.
    Exchanged,
    /// Who may write the file could not be determined.
    Unseen(String),
}

impl Suspect {
    pub(super) fn new(path: &Path, status: &FileStat, kind: Kind, fault: Fault) -> Self {
        Self { path: path.into(), kind, owner: (status.st_uid, status.st_gid), mode: status.st_mode & 0o7777, fault }
    }

    /// A suspect for a file that could not be checked.
    pub(super) fn unseen(path: &Path, error: io::Error) -> Self {
        let fault = Fault::Unseen(reason(error));
        Self { path: path.into(), kind: Kind::File, owner: (0, 0), mode: 0, fault }
    }

    /// Whether this suspect matters if the app may be any of `apps`. `apps` holds the app of every file, so a file can only add
    /// to the suspects that matter.
    pub fn counts_for(&self, apps: &[App<'_>]) -> bool {
        // Group 0 gives nothing to an app that is root: it can write every file anyway.
        let in_it = |app: &App<'_>| app.uid != 0 && (app.gid == 0 || app.groups.contains(&0));
        let root_group = |group| group != 0 || apps.iter().any(in_it);
        match self.fault {
            Fault::Owner { read_only: true } => apps.iter().any(|app| app.uid == self.owner.0),
            Fault::Group => root_group(self.owner.1),
            Fault::ListedGroup(group) => root_group(group),
            _ => true,
        }
    }

    /// Whether [`counts_for`](Self::counts_for) needs to know who the app is.
    pub fn depends_on_app(&self) -> bool {
        matches!(
            (&self.fault, self.owner.1),
            (Fault::Owner { read_only: true } | Fault::ListedGroup(0), _) | (Fault::Group, 0)
        )
    }

    /// The problem, as the end of a sentence whose subject is the file.
    pub fn message(&self) -> String {
        let path = self.path.display();
        let who = match &self.fault {
            Fault::Everybody => "everybody".to_owned(),
            Fault::Owner { read_only: true } => format!("the app's uid {}", self.owner.0),
            Fault::Owner { read_only: false } | Fault::Link => format!("uid {}", self.owner.0),
            Fault::Group => format!("group {}", self.owner.1),
            Fault::ListedUser(uid) | Fault::Fuse(uid) => format!("uid {uid}"),
            Fault::ListedGroup(group) => format!("group {group}"),
            Fault::Kernel(system) => {
                return format!("cannot be trusted: `{path}` is on {system}, whose files say what processes choose");
            }
            Fault::NoRegularFile => return format!("cannot be trusted: `{path}` is no regular file"),
            Fault::Exchanged => return format!("cannot be trusted: `{path}` was exchanged while it was looked at"),
            Fault::Unseen(why) => {
                return format!("cannot be trusted: who may write `{path}` cannot be told: {why}");
            }
        };
        let (uid, gid) = self.owner;
        let mode = self.mode;
        let link = if self.kind == Kind::Link { "the link " } else { "" };
        let is = format!("{link}`{path}` has owner {uid}:{gid} and mode {mode:04o}");
        let more = match &self.fault {
            Fault::ListedUser(_) | Fault::ListedGroup(_) => ", and an access list",
            Fault::Link => ", and others can write its directory",
            Fault::Fuse(_) => ", on a FUSE mount of that uid",
            _ => "",
        };
        format!("can be changed by {who}: {is}{more}")
    }

    /// How to fix the problem.
    pub fn hint(&self) -> String {
        let path = self.path.display();
        let read_only = "or mount it read-only";
        let named =
            |uid: u32| format!("or name who may decide what a privileged process does: HANDFAST_CONFIG_OWNER={uid}");
        match &self.fault {
            Fault::Owner { read_only: true } => {
                let (uid, _) = self.owner;
                format!("a read-only mount helps against others than the app: `chown root {path}`, {}", named(uid))
            }
            Fault::Owner { read_only: false } => {
                let (uid, _) = self.owner;
                format!("`chown root {path}`, mount it read-only, {}", named(uid))
            }
            // As a desktop's share shows each of its files.
            Fault::Everybody if self.mode & 0o777 == 0o777 => format!(
                "mount it read-only (Docker: `:ro`), or copy it into the image, if it is on a share of a desktop, where a chmod changes \
                 nothing; else `chmod o-w {path}`"
            ),
            Fault::Everybody => format!("`chmod o-w {path}`, {read_only}"),
            Fault::Group if self.owner.1 == 0 => {
                format!("the app gets group 0: give it another one, `chmod g-w {path}`, {read_only}")
            }
            Fault::Group => format!("`chmod g-w {path}`, {read_only}"),
            Fault::ListedUser(uid) => format!("`setfacl -x u:{uid} {path}`, {read_only}"),
            Fault::ListedGroup(group) => format!("`setfacl -x g:{group} {path}`, {read_only}"),
            Fault::Link => format!("`chown -h root {path}`, or name the file that it leads to"),
            Fault::Fuse(uid) => format!("put it on another file system, {}", named(*uid)),
            Fault::NoRegularFile if self.path == Path::new("/dev/null") => {
                "name an empty file that only root can write, to start without settings".into()
            }
            Fault::Kernel(_) | Fault::NoRegularFile => {
                "with root's rights or a capability, handfast takes only regular files that nobody else can write"
                    .into()
            }
            Fault::Exchanged | Fault::Unseen(_) => {
                "let it be where only root can write, and where handfast can look at it".into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(fault: Fault, owner: (u32, u32)) -> Suspect {
        Suspect { path: "/a".into(), kind: Kind::File, owner, mode: 0o664, fault }
    }

    const ROOT_GROUP: App<'_> = App { uid: 1000, gid: 0, groups: &[] };
    const OTHER: App<'_> = App { uid: 1000, gid: 1000, groups: &[7] };
    const LISTED: App<'_> = App { uid: 1000, gid: 1000, groups: &[0] };
    const ROOT: App<'_> = App { uid: 0, gid: 0, groups: &[0] };

    #[test]
    fn group_0_is_roots_until_the_app_is_in_it() {
        for fault in [Fault::Group, Fault::ListedGroup(0)] {
            let suspect = suspect(fault, (0, 0));
            assert!(suspect.depends_on_app());
            assert!(!suspect.counts_for(&[OTHER, ROOT]) && !suspect.counts_for(&[]));
            assert!(suspect.counts_for(&[ROOT_GROUP]) && suspect.counts_for(&[OTHER, LISTED]));
        }
        for fault in [Fault::Group, Fault::ListedGroup(7)] {
            assert!(suspect(fault, (0, 7)).counts_for(&[OTHER]));
        }
    }

    #[test]
    fn an_owner_on_a_read_only_mount_counts_where_it_is_the_app() {
        let suspect = suspect(Fault::Owner { read_only: true }, (1000, 0));
        assert!(suspect.depends_on_app() && suspect.counts_for(&[OTHER]));
        assert!(!suspect.counts_for(&[App { uid: 1001, ..OTHER }]));
    }

    #[test]
    fn what_no_test_of_the_whole_can_make_is_told_like_the_rest() {
        for (fault, message, hint) in [
            (
                Fault::Fuse(1000),
                "can be changed by uid 1000: `/a` has owner 0:0 and mode 0664, on a FUSE mount of that uid",
                "put it on another file system, or name who may decide what a privileged process does: HANDFAST_CONFIG_OWNER=1000",
            ),
            (
                Fault::Exchanged,
                "cannot be trusted: `/a` was exchanged while it was looked at",
                "let it be where only root can write, and where handfast can look at it",
            ),
            (
                Fault::Unseen("its access list is malformed".into()),
                "cannot be trusted: who may write `/a` cannot be told: its access list is malformed",
                "let it be where only root can write, and where handfast can look at it",
            ),
        ] {
            let suspect = suspect(fault, (0, 0));
            assert_eq!((&*suspect.message(), &*suspect.hint()), (message, hint));
        }
    }

    #[test]
    fn everything_else_counts_for_everybody() {
        for fault in [Fault::Owner { read_only: false }, Fault::Everybody, Fault::ListedUser(5), Fault::Link] {
            let suspect = suspect(fault, (5, 5));
            assert!(!suspect.depends_on_app() && suspect.counts_for(&[]));
        }
    }
}
