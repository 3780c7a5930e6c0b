//! The files directory: opened once, examined on that descriptor, and accepted or refused before the fetch.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, major, minor, mkdirat, umask};
use nix::sys::statfs::fstatfs;
use nix::unistd::{AccessFlags, faccessat};

use super::acceptance::{self, Facts, Medium, OwnMount};
use super::failure::refusal;
use super::powers::Powers;
use super::way::{Owned, Reader, Way};
use super::{access_lists, entries, mounts};
use crate::error::{Error, Result, reason};
use crate::sys::capabilities::DAC_OVERRIDE;
use crate::sys::fs::kind;

/// The files directory before the fetch.
pub struct Survey {
    /// Where the files go.
    pub place: Choice,
    /// The device and inode of the directory, or of its parent where it is missing.
    pub identity: (u64, u64),
    /// The directory's owner: ours, where we are going to make it.
    pub owner: u32,
    /// Its mode.
    pub mode: u32,
    /// Its group, where it has the setgid bit: what is made in it inherits that group.
    pub setgid_group: Option<u32>,
}

/// Where the files go.
pub enum Choice {
    /// Into an accepted directory.
    Accepted {
        /// The directory, opened.
        handle: OwnedFd,
        /// Its file system.
        medium: Medium,
    },
    /// Into a directory that is made first.
    Missing {
        /// The directory that it will be in; its last component is only ever reached from here.
        parent: OwnedFd,
        /// The last component.
        name: OsString,
        /// Its file system.
        medium: Medium,
    },
    /// Into a tmpfs of our own, mounted over this empty directory.
    OwnMount,
}

/// Opens the directory's parent, examines the directory, and decides. Changes nothing.
pub fn survey(path: &Path, own_mount: OwnMount, powers: &Powers, readers: &[Reader]) -> Result<Survey> {
    let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refusal(format!("cannot deliver files into `{}`: it has no name of its own", path.display())));
    };
    let mut way = Way::walk(parent_path, powers.uid, readers).map_err(|error| match error {
        Errno::ENOENT => refuse(path, &format!("neither it nor `{}` exists", parent_path.display()), None),
        error => cannot_open(parent_path, error),
    })?;
    let at = |error| cannot_open(path, error);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let handle = match openat(&way.end, name, flags, Mode::empty()) {
        Ok(handle) => handle,
        Err(Errno::ENOENT) => return survey_missing(path, way, name, own_mount, powers),
        Err(error) => return Err(explain_open(path, &way.end, name, error)),
    };
    let status = fstat(&handle).map_err(at)?;
    let identity = (status.st_dev, status.st_ino);
    way.check_entry(name, Owned::of(&status), powers.uid);
    let mount = mounts::mount_of(handle.as_fd())?;
    let facts = Facts {
        path,
        uid: status.st_uid,
        mode: status.st_mode & 0o7777,
        medium: Medium::of(&mount, fstatfs(&handle).map_err(at)?.filesystem_type(), device(&status)),
        mount: &mount,
        mount_point: mount.id != mounts::mount_id(way.end.as_fd())?,
    };
    match facts.accept(powers.uid) {
        Ok(medium) => {
            check_writable(path, &handle, &status, powers)?;
            // Who can replace a mount point is decided by its mounter, and not checked.
            if !facts.mount_point {
                way.refuse_weakness(path, powers.uid)?;
            }
            way.arrive(handle, name, Owned::of(&status));
            way.refuse_barrier(path)?;
            let place = Choice::Accepted { handle: way.end, medium };
            Ok(Survey { place, identity, owner: facts.uid, mode: facts.mode, setgid_group: setgid_group(&status) })
        }
        Err(why) => {
            // Only a listing shows whether the mount would cover entries. A directory that cannot be listed counts as not empty.
            let empty = entries::names(handle.as_fd()).is_ok_and(|names| names.is_empty());
            facts.cover(own_mount, empty).map_err(|more| match facts.is_read_only() {
                true => read_only(path, &why),
                false => refuse(path, &why, more),
            })?;
            way.refuse_weakness(path, powers.uid)?;
            way.refuse_barrier(path)?;
            Ok(Survey { place: Choice::OwnMount, identity, owner: powers.uid, mode: 0o755, setgid_group: None })
        }
    }
}

fn survey_missing(path: &Path, mut way: Way<'_>, name: &OsStr, own_mount: OwnMount, powers: &Powers) -> Result<Survey> {
    let at = |error| cannot_open(path, error);
    let status = fstat(&way.end).map_err(at)?;
    let mount = mounts::mount_of(way.end.as_fd())?;
    let magic = fstatfs(&way.end).map_err(at)?.filesystem_type();
    let Some(medium) = Medium::of(&mount, magic, device(&status)) else {
        let why = format!("it does not exist, and would be on {}, not on a tmpfs", mount.filesystem);
        let more = (own_mount == OwnMount::Possible).then_some("a tmpfs of handfast's own needs it to be there, empty");
        return Err(refuse(path, &why, more));
    };
    if mount.read_only {
        return Err(refuse(path, "it does not exist, and the tmpfs that it would be in is read-only", None));
    }
    check_writable(path.parent().unwrap_or(path), &way.end, &status, powers)?;
    way.check_entry(name, Owned { uid: powers.uid, gid: powers.gid, mode: 0o755 }, powers.uid);
    way.refuse_weakness(path, powers.uid)?;
    way.refuse_barrier(path)?;
    let (identity, setgid_group) = ((status.st_dev, status.st_ino), setgid_group(&status));
    let place = Choice::Missing { parent: way.end, name: name.to_owned(), medium };
    Ok(Survey { place, identity, owner: powers.uid, mode: 0o755, setgid_group })
}

/// Makes the directory that a survey found missing. Nobody but root and us can put another in its place: the survey has looked.
pub fn create(path: &Path, parent: &OwnedFd, name: &OsStr, powers: &Powers) -> Result<()> {
    let at = |error| refusal(format!("cannot create `{}`: {}", path.display(), reason(error)));
    // With the mode at once that the app needs to enter: an end between two steps leaves nothing that the next start would take for
    // another's decision.
    let mask = umask(Mode::S_IWGRP | Mode::S_IWOTH);
    let made = mkdirat(parent, name, Mode::from_bits_truncate(0o755));
    umask(mask);
    match made {
        Ok(()) => {}
        // Another process was faster: the survey that follows judges its directory.
        Err(Errno::EEXIST) => return Ok(()),
        Err(error) => return Err(at(error)),
    }
    let handle = entries::open_directory(parent.as_fd(), name).map_err(at)?;
    let made = fstat(&handle).map_err(at)?;
    // Another start may already be at it: the survey that follows judges this one too.
    if made.st_uid != powers.uid || !entries::names(handle.as_fd()).map_err(at)?.is_empty() {
        return Ok(());
    }
    // The parent's default ACL may have given others more, and the rest less.
    let had_list = access_lists::strip(handle.as_fd()).map_err(at)?;
    if had_list || made.st_mode & 0o777 != 0o755 {
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
    if powers.has(DAC_OVERRIDE) {
        return Ok(());
    }
    let asked = if powers.gives_up_override { by_mode(status, powers) } else { by_kernel(handle) };
    asked.map_err(|error| {
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

fn by_kernel(handle: &OwnedFd) -> nix::Result<()> {
    faccessat(handle, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty())
}

/// The kernel's answer for a process without the capability, by the mode alone: a process that has the capability rarely needs an ACL.
fn by_mode(status: &FileStat, powers: &Powers) -> nix::Result<()> {
    const WRITE_AND_ENTER: u32 = 0o3;
    let shift = match status {
        status if status.st_uid == powers.uid => 6,
        status if powers.in_group(status.st_gid) => 3,
        _ => 0,
    };
    if status.st_mode >> shift & WRITE_AND_ENTER == WRITE_AND_ENTER { Ok(()) } else { Err(Errno::EACCES) }
}

fn explain_open(path: &Path, parent: &OwnedFd, name: &OsStr, error: Errno) -> Error {
    let found = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|status| kind(&status));
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

fn read_only(path: &Path, why: &str) -> Error {
    refusal(format!("cannot deliver files into `{}`: {why}", path.display())).hint(
        "let handfast's container mount it writable (Docker: `--tmpfs` without `ro`; Kubernetes: `readOnly` only in the app's container)",
    )
}

fn refuse(path: &Path, why: &str, more: Option<&str>) -> Error {
    let more = more.map(|more| format!("; {more}")).unwrap_or_default();
    let refused = refusal(format!("cannot deliver files into `{}`: {why}{more}", path.display()));
    // What the system shares is refused as a tmpfs too, and nothing can be mounted among the kernel's own files.
    if acceptance::is_shared(path) || ["/proc", "/sys"].iter().any(|kernels| path.starts_with(kernels)) {
        return refused.hint("use a directory of its own, such as `/run/secrets`, with a tmpfs mounted there");
    }
    refused.hint(format!(
        "mount a tmpfs there (Kubernetes: an emptyDir with `medium: Memory`; Docker: `--tmpfs {}`), or deliver into descriptors",
        path.display()
    ))
}
