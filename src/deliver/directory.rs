//! The files directory: opened once, looked at on that descriptor, accepted or refused before the fetch.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, major, minor, mkdirat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{AccessFlags, faccessat};

use super::acceptance::{self, Facts, Medium, OwnMount};
use super::powers::{Power, Powers};
use super::{entries, mounts, refusal};
use crate::error::{Error, Result, reason};

/// The files directory before the fetch.
pub struct Survey {
    /// Where the files go.
    pub place: Place,
    /// The directory's owner: ours, where we are going to make it.
    pub owner: u32,
    /// Its mode.
    pub mode: u32,
    /// Its group, where it has the setgid bit: what is made in it inherits that group.
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
        /// The directory that it will be in; its last component is only ever reached from here.
        parent: OwnedFd,
        /// The last component.
        name: OsString,
        /// What it will be in.
        medium: Medium,
    },
    /// Into a tmpfs of our own, mounted over this empty directory.
    OwnMount {
        /// Its device and inode, to find the same again.
        identity: (u64, u64),
    },
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
        medium: Medium::of(&mount, fstatfs(&handle).map_err(at)?.filesystem_type(), device(&status)),
        mount: &mount,
        mount_point: mount.id != mounts::mount_id(parent.as_fd())?,
    };
    match facts.accept(powers.uid) {
        Ok(medium) => {
            check_writable(path, &handle, &status, powers)?;
            let place = Place::Accepted { handle, medium };
            Ok(Survey { place, owner: facts.uid, mode: facts.mode, setgid_group: setgid_group(&status) })
        }
        Err(why) => {
            // Only the listing can tell whether something would be covered; one that cannot be read might be anything.
            let empty = entries::names(handle.as_fd()).is_ok_and(|names| names.is_empty());
            facts.cover(own_mount, empty).map_err(|more| refuse(path, &why, more))?;
            let place = Place::OwnMount { identity: (status.st_dev, status.st_ino) };
            Ok(Survey { place, owner: powers.uid, mode: 0o755, setgid_group: None })
        }
    }
}

fn survey_missing(path: &Path, parent: OwnedFd, name: &OsStr, own_mount: OwnMount, powers: &Powers) -> Result<Survey> {
    let at = |error| cannot_open(path, error);
    let status = fstat(&parent).map_err(at)?;
    let mount = mounts::mount_of(parent.as_fd())?;
    let magic = fstatfs(&parent).map_err(at)?.filesystem_type();
    let Some(medium) = Medium::of(&mount, magic, device(&status)) else {
        let why = format!("it does not exist, and would be on {}, not on a tmpfs", mount.filesystem);
        let more = (own_mount == OwnMount::Possible).then_some("a tmpfs of handfast's own needs it to be there, empty");
        return Err(refuse(path, &why, more));
    };
    if mount.read_only {
        return Err(refuse(path, "it does not exist, and the tmpfs that it would be in is read-only", None));
    }
    check_writable(path.parent().unwrap_or(path), &parent, &status, powers)?;
    let setgid_group = setgid_group(&status);
    let place = Place::Missing { parent, name: name.to_owned(), medium };
    Ok(Survey { place, owner: powers.uid, mode: 0o755, setgid_group })
}

/// Makes the directory that a survey found missing.
pub fn create(path: &Path, parent: &OwnedFd, name: &OsStr, powers: &Powers) -> Result<()> {
    let at = |error| refusal(format!("cannot create `{}`: {}", path.display(), reason(error)));
    match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) => {}
        // Someone was faster: the survey that follows judges what is there now.
        Err(Errno::EEXIST) => return Ok(()),
        Err(error) => return Err(at(error)),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let handle = openat(parent, name, flags, Mode::empty()).map_err(at)?;
    let made = fstat(&handle).map_err(at)?;
    // The umask may have taken from the mode what the app needs to enter.
    if made.st_uid == powers.uid && made.st_mode & 0o777 != 0o755 {
        fchmod(&handle, Mode::from_bits_truncate(made.st_mode & 0o7000 | 0o755)).map_err(at)?;
    }
    Ok(())
}

fn device(status: &FileStat) -> (u64, u64) {
    (major(status.st_dev), minor(status.st_dev))
}

fn setgid_group(status: &FileStat) -> Option<u32> {
    Mode::from_bits_truncate(status.st_mode).contains(Mode::S_ISGID).then_some(status.st_gid)
}

fn check_writable(path: &Path, handle: &OwnedFd, status: &FileStat, powers: &Powers) -> Result<()> {
    // The call asks for the real ids without capabilities; ours are the same, and this one capability would be enough.
    if powers.has(Power::DacOverride) {
        return Ok(());
    }
    faccessat(handle, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty()).map_err(|error| {
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
    let refused = refusal(format!("cannot deliver files into `{}`: {why}{more}", path.display()));
    // What the system shares is refused as a tmpfs too.
    if acceptance::is_shared(path) {
        return refused.hint("use a directory of its own, such as `/run/secrets`, with a tmpfs mounted there");
    }
    refused.hint(format!(
        "mount a tmpfs there (Kubernetes: an emptyDir with `medium: Memory`; Docker: `--tmpfs {}`), or deliver into descriptors",
        path.display()
    ))
}
