//! The errors for a file that could not be read: what was attempted, on what, why, and how to fix it.

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::sys::stat::{FileStat, fstat, stat};
use nix::unistd::{AccessFlags, eaccess, getegid, geteuid};

use super::open::Target;
use crate::error::{ErrorKind, ProviderError, reason};

/// The error for a file that exists and must not be read.
pub fn refused(target: Target<'_>, what: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, format!("{}: it is {what}", target.attempt()))
        .hint("only regular files are read: Docker and Kubernetes secret mounts, CSI volumes")
}

/// The error for a file of more bytes than a secret may have.
pub fn too_large(target: Target<'_>, limit: usize) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, format!("{}: it is larger than {limit} bytes", target.attempt()))
}

/// The error for a system call that failed on the way to the file, or on the file itself, if it was `found`.
pub fn failure(target: Target<'_>, error: Errno, found: Option<&dyn AsFd>) -> ProviderError {
    let plain = |kind, why: &str| ProviderError::new(kind, format!("{}: {why}", target.attempt()));
    match error {
        Errno::ENOENT | Errno::ENOTDIR => plain(ErrorKind::NotFound, "no such file"),
        Errno::ENAMETOOLONG | Errno::EINVAL => plain(ErrorKind::NotFound, &reason(error)),
        Errno::EACCES | Errno::EPERM => match found.and_then(|file| fstat(file.as_fd()).ok()) {
            Some(stat) => match found.and_then(below_devices) {
                Some(place) => no_place_for_secrets(target, &place),
                None => unreadable(target, &stat),
            },
            None => barred(target),
        },
        Errno::EXDEV => {
            plain(ErrorKind::Denied, "a link or a `..` leads out of the provider's `root`").hint(LINKS_STAY_BELOW)
        }
        Errno::ELOOP => plain(ErrorKind::Denied, "too many links, or a link of procfs"),
        // The regular file was just replaced by a socket, or by a device file without a device.
        Errno::ENXIO | Errno::ENODEV => refused(target, "not a regular file"),
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => plain(ErrorKind::Os, &reason(error)),
        _ => plain(ErrorKind::Unavailable, &reason(error)),
    }
}

/// The error for a directory whose files could not be listed.
pub fn unlisted(directory: &Path, error: Errno) -> ProviderError {
    let target = Target { path: directory, root: None };
    let (kind, why) = match (error, stat(directory)) {
        (Errno::ENOENT, _) => (ErrorKind::NotFound, "no such directory".to_owned()),
        (Errno::ENOTDIR, _) => (ErrorKind::NotFound, "it is not a directory".to_owned()),
        (Errno::EACCES, Ok(stat)) => {
            (ErrorKind::Denied, format!("permission denied: {}, and we are {}", whose(&stat), ourselves()))
        }
        _ => return failure(target, error, None),
    };
    let failure = ProviderError::new(kind, format!("{}: {why}", target.attempt()));
    match kind {
        ErrorKind::Denied => failure.hint(format!("let uid {} or one of its groups list it (mode `r`)", geteuid())),
        _ => failure,
    }
}

const LINKS_STAY_BELOW: &str = "only files below `root` are read; links below it must be relative";

impl Target<'_> {
    fn attempt(&self) -> String {
        match self.root {
            None => format!("cannot read `{}`", self.path.display()),
            Some(root) => format!("cannot read `{}` below `{}`", self.path.display(), root.display()),
        }
    }
}

/// Says who may read the file, and the identity of this process. The worker has no capabilities, so the mode also binds root.
fn unreadable(target: Target<'_>, stat: &FileStat) -> ProviderError {
    let message = format!("{}: permission denied: {}, and we are {}", target.attempt(), whose(stat), ourselves());
    ProviderError::new(ErrorKind::Denied, message)
        .hint(format!("make it readable for uid {} or for one of its groups", geteuid()))
}

/// The path of the file, also of a link's target, if it is below `/dev`, where the worker's cage forbids reading.
fn below_devices(file: &dyn AsFd) -> Option<PathBuf> {
    let place = readlink(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).as_str()).ok().map(PathBuf::from)?;
    (place.starts_with("/dev") && !place.starts_with("/dev/shm")).then_some(place)
}

fn no_place_for_secrets(target: Target<'_>, place: &Path) -> ProviderError {
    let why = format!("it is `{}`, and below /dev only /dev/shm is read", place.display());
    ProviderError::new(ErrorKind::Denied, format!("{}: permission denied: {why}", target.attempt()))
        .hint("mount it elsewhere, such as below /run")
}

/// Says which directory this process may not enter, if that is visible from outside the directory.
fn barred(target: Target<'_>) -> ProviderError {
    let full = target.root.map_or_else(|| target.path.to_owned(), |root| root.join(target.path));
    let door = full.ancestors().skip(1).find_map(|directory| {
        let stat = stat(directory).ok()?;
        eaccess(directory, AccessFlags::X_OK).is_err().then(|| (directory.to_owned(), whose(&stat)))
    });
    let (what, name) = match &door {
        Some((directory, whose)) => (format!("`{}` is {whose}", directory.display()), named(directory)),
        None => ("a directory on its way keeps us out".to_owned(), "each directory on its way".to_owned()),
    };
    let message = format!("{}: permission denied: {what}, and we are {}", target.attempt(), ourselves());
    ProviderError::new(ErrorKind::Denied, message)
        .hint(format!("let uid {} or one of its groups enter {name} (mode `x`)", geteuid()))
}

fn named(directory: &Path) -> String {
    format!("`{}`", directory.display())
}

fn whose(stat: &FileStat) -> String {
    format!("owned by {}:{} with mode {:04o}", stat.st_uid, stat.st_gid, stat.st_mode & 0o7777)
}

fn ourselves() -> String {
    format!("{}:{} without capabilities", geteuid(), getegid())
}
