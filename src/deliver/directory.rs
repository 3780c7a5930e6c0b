//! The files directory: opened once, looked at on that descriptor, accepted or refused before the fetch.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, major, minor, mkdirat};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use nix::unistd::{AccessFlags, faccessat};

use super::entries;
use super::mounts::{self, Mount};
use super::powers::Powers;
use super::refusal;
use crate::error::{Error, Result, reason};

const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
/// Everyone's: a set of secrets is never put right there.
const SHARED: [&str; 6] = ["/dev", "/dev/shm", "/tmp", "/var/tmp", "/run", "/run/lock"];

/// The files directory before the fetch.
pub struct Survey {
    /// The directory that it is in, opened; the last component is only ever reached from here.
    pub parent: OwnedFd,
    /// The last component.
    pub name: OsString,
    /// What was found.
    pub place: Place,
    /// What new entries inherit: ours where the directory does not exist yet.
    pub owner: u32,
    /// Its mode.
    pub mode: u32,
    /// Its group, where it has the setgid bit.
    pub setgid_group: Option<u32>,
}

/// Where the files go.
pub enum Place {
    /// Into an accepted directory.
    Accepted {
        /// The directory, opened.
        handle: OwnedFd,
        /// What it is in.
        medium: Medium,
    },
    /// Into a directory that is made first.
    Missing {
        /// What it will be in.
        medium: Medium,
    },
    /// Into a tmpfs of our own, mounted over this empty directory.
    OwnMount {
        /// Its device and inode, to find the same again.
        identity: (u64, u64),
    },
}

/// The file system that the files are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// tmpfs, whose pages can be swapped out.
    Tmpfs,
    /// tmpfs with the option `noswap`.
    TmpfsWithoutSwap,
    /// ramfs, whose pages cannot be swapped out.
    Ramfs,
}

/// What the decision depends on.
struct Facts<'a> {
    path: &'a Path,
    uid: u32,
    mode: u32,
    magic: FsType,
    device: (u64, u64),
    mount: &'a Mount,
    mount_point: bool,
}

/// Whether a tmpfs of our own may be the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnMount {
    /// Under `run`, with CAP_SYS_ADMIN.
    Possible,
    /// Under `init`: the app would not see it.
    Invisible,
    /// Without CAP_SYS_ADMIN.
    Denied,
}

/// Opens the directory's parent, looks at the directory, and decides. Changes nothing.
pub fn survey(path: &Path, own_mount: OwnMount, powers: &Powers) -> Result<Survey> {
    let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refusal(format!("cannot deliver files into `{}`: it has no name of its own", path.display())));
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent = open(parent_path, flags, Mode::empty()).map_err(|error| cannot_open(parent_path, error))?;
    let at = |error| cannot_open(path, error);
    let handle = match openat(&parent, name, flags | OFlag::O_NOFOLLOW, Mode::empty()) {
        Ok(handle) => handle,
        Err(Errno::ENOENT) => return survey_missing(path, parent, name, own_mount, powers),
        Err(error) => return Err(explain_open(path, &parent, name, error)),
    };
    let status = fstat(&handle).map_err(at)?;
    let mount = mounts::mount_of(handle.as_fd())?;
    let facts = Facts {
        path,
        uid: status.st_uid,
        mode: status.st_mode & 0o7777,
        magic: fstatfs(&handle).map_err(at)?.filesystem_type(),
        device: (major(status.st_dev), minor(status.st_dev)),
        mount: &mount,
        mount_point: mount.id != mounts::mount_id(parent.as_fd())?,
    };
    let survey = |place, parent| Survey {
        parent,
        name: name.to_owned(),
        place,
        owner: status.st_uid,
        mode: facts.mode,
        setgid_group: setgid_group(&status),
    };
    match accept(&facts, powers.uid) {
        Ok(medium) => {
            check_writable(path, &handle, &status, powers)?;
            Ok(survey(Place::Accepted { handle, medium }, parent))
        }
        Err(why) => {
            // Only the listing can tell whether something would be covered; one that cannot be read might be anything.
            let empty = entries::names(handle.as_fd()).is_ok_and(|names| names.is_empty());
            cover(&facts, own_mount, empty).map_err(|more| refuse(path, &why, more))?;
            let place = Place::OwnMount { identity: (status.st_dev, status.st_ino) };
            let own = survey(place, parent);
            Ok(Survey { owner: powers.uid, mode: 0o755, setgid_group: None, ..own })
        }
    }
}

fn survey_missing(path: &Path, parent: OwnedFd, name: &OsStr, own_mount: OwnMount, powers: &Powers) -> Result<Survey> {
    let at = |error| cannot_open(path, error);
    let status = fstat(&parent).map_err(at)?;
    let mount = mounts::mount_of(parent.as_fd())?;
    let magic = fstatfs(&parent).map_err(at)?.filesystem_type();
    let Some(medium) = medium(&mount, magic, (major(status.st_dev), minor(status.st_dev))) else {
        let why = format!("it does not exist, and would be on {}, not on a tmpfs", mount.filesystem);
        return Err(refuse(path, &why, own_mount.refused_for_missing()));
    };
    if mount.read_only {
        return Err(refuse(path, "it does not exist, and the tmpfs that it would be in is read-only", None));
    }
    check_writable(path.parent().unwrap_or(path), &parent, &status, powers)?;
    let setgid_group = setgid_group(&status);
    Ok(Survey {
        parent,
        name: name.to_owned(),
        place: Place::Missing { medium },
        owner: powers.uid,
        mode: 0o755,
        setgid_group,
    })
}

/// Makes the directory that a survey found missing.
pub fn create(path: &Path, survey: &Survey, powers: &Powers) -> Result<()> {
    let at = |error| refusal(format!("cannot create `{}`: {}", path.display(), reason(error)));
    let name = survey.name.as_os_str();
    match mkdirat(&survey.parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) => {}
        // Someone was faster: the survey that follows judges what is there now.
        Err(Errno::EEXIST) => return Ok(()),
        Err(error) => return Err(at(error)),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let handle = openat(&survey.parent, name, flags, Mode::empty()).map_err(at)?;
    let made = fstat(&handle).map_err(at)?;
    // The umask may have taken from the mode what the app needs to enter.
    if made.st_uid == powers.uid && made.st_mode & 0o777 != 0o755 {
        fchmod(&handle, Mode::from_bits_truncate(made.st_mode & 0o7000 | 0o755)).map_err(at)?;
    }
    Ok(())
}

/// The contract's rule: a tmpfs or ramfs mount point that is not everyone's, or a directory inside one that only root or
/// we can write. The answer says why not.
fn accept(facts: &Facts<'_>, our_uid: u32) -> std::result::Result<Medium, String> {
    let Some(medium) = medium(facts.mount, facts.magic, facts.device) else {
        return Err(format!("it is on {}, not on a tmpfs", facts.mount.filesystem));
    };
    if is_shared(facts) {
        return Err("it is shared by the whole system".into());
    }
    if facts.mount.read_only {
        return Err(format!("its {} is read-only", facts.mount.filesystem));
    }
    if facts.mount_point {
        return Ok(medium);
    }
    if facts.uid != 0 && facts.uid != our_uid {
        return Err(format!("it is no mount point, and belongs to uid {} instead of root or handfast", facts.uid));
    }
    if facts.mode & 0o022 != 0 {
        return Err(format!("it is no mount point, and its mode {:04o} lets others write", facts.mode));
    }
    Ok(medium)
}

/// The magic number alone also fits devtmpfs, the name alone could be of another mount.
fn medium(mount: &Mount, magic: FsType, device: (u64, u64)) -> Option<Medium> {
    if device != mount.device {
        return None;
    }
    match mount.filesystem.as_str() {
        "tmpfs" if magic == TMPFS_MAGIC && mount.no_swap => Some(Medium::TmpfsWithoutSwap),
        "tmpfs" if magic == TMPFS_MAGIC => Some(Medium::Tmpfs),
        "ramfs" if magic == RAMFS_MAGIC => Some(Medium::Ramfs),
        _ => None,
    }
}

fn is_shared(facts: &Facts<'_>) -> bool {
    let is = |path: &Path| SHARED.iter().any(|shared| path == Path::new(shared));
    is(facts.path) || (facts.mount_point && is(&facts.mount.point))
}

/// Whether our own tmpfs may cover it; `None` in the error says nothing more than why it was not accepted.
fn cover(facts: &Facts<'_>, own_mount: OwnMount, empty: bool) -> std::result::Result<(), Option<&'static str>> {
    let on_memory = medium(facts.mount, facts.magic, facts.device).is_some();
    if is_shared(facts) || (on_memory && facts.mount_point) {
        return Err(None);
    }
    match own_mount {
        OwnMount::Possible if empty => Ok(()),
        OwnMount::Possible => Err(Some("a tmpfs of handfast's own would cover what is in it")),
        OwnMount::Invisible => Err(Some("the app would not see a tmpfs of handfast's own")),
        OwnMount::Denied => Err(Some("handfast lacks CAP_SYS_ADMIN to mount its own")),
    }
}

impl OwnMount {
    fn refused_for_missing(self) -> Option<&'static str> {
        match self {
            OwnMount::Possible => Some("an own tmpfs needs the directory to be there, empty"),
            OwnMount::Invisible | OwnMount::Denied => None,
        }
    }
}

fn setgid_group(status: &FileStat) -> Option<u32> {
    Mode::from_bits_truncate(status.st_mode).contains(Mode::S_ISGID).then_some(status.st_gid)
}

fn check_writable(path: &Path, handle: &OwnedFd, status: &FileStat, powers: &Powers) -> Result<()> {
    let asked = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(handle, ".", asked, AtFlags::AT_EACCESS).map_err(|error| {
        refusal(format!(
            "cannot write into `{}`: {}: it belongs to {}:{} with mode {:04o}, and handfast is {}:{}",
            path.display(),
            reason(error),
            status.st_uid,
            status.st_gid,
            status.st_mode & 0o7777,
            powers.uid,
            powers.gid
        ))
        .hint("let handfast's uid or one of its groups write there (Kubernetes: `fsGroup`; Docker: `--tmpfs …:uid=…`)")
    })
}

fn explain_open(path: &Path, parent: &OwnedFd, name: &OsStr, error: Errno) -> Error {
    let found = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|status| entries::kind(&status));
    match found {
        Ok(SFlag::S_IFLNK) => refusal(format!("cannot deliver files into `{}`: it is a link", path.display()))
            .hint("name the directory itself"),
        Ok(kind) if kind != SFlag::S_IFDIR => {
            refusal(format!("cannot deliver files into `{}`: it is not a directory", path.display()))
        }
        _ => cannot_open(path, error),
    }
}

fn cannot_open(path: &Path, error: Errno) -> Error {
    refusal(format!("cannot open `{}`: {}", path.display(), reason(error)))
}

fn refuse(path: &Path, why: &str, more: Option<&str>) -> Error {
    let more = more.map(|more| format!("; {more}")).unwrap_or_default();
    let path = path.display();
    refusal(format!("cannot deliver files into `{path}`: {why}{more}")).hint(format!(
        "mount a tmpfs there (Kubernetes: an emptyDir with `medium: Memory`; Docker: `--tmpfs {path}`), or deliver into descriptors"
    ))
}
