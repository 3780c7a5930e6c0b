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

/// The error for a file that is larger than a secret may be.
pub fn too_large(target: Target<'_>, limit: usize) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, format!("{}: it is larger than {limit} bytes", target.attempt()))
}

/// The error for a failed system call: on a directory on the path to the file, or on the file itself, if it was `found`.
pub fn failure(target: Target<'_>, error: Errno, found: Option<&dyn AsFd>) -> ProviderError {
    let plain = |kind, why: &str| ProviderError::new(kind, format!("{}: {why}", target.attempt()));
    match error {
        Errno::ENOENT | Errno::ENOTDIR => plain(ErrorKind::NotFound, "no such file"),
        Errno::ENAMETOOLONG | Errno::EINVAL => plain(ErrorKind::NotFound, &reason(error)),
        Errno::EACCES | Errno::EPERM => match found.and_then(|file| fstat(file.as_fd()).ok()) {
            Some(stat) => match found.and_then(path_below_dev) {
                Some(path) => below_dev(target, &path),
                None => unreadable(target, &stat),
            },
            None => directory_forbidden(target),
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
pub fn cannot_list(directory: &Path, error: Errno) -> ProviderError {
    let target = Target { path: directory, root: None };
    let (kind, why) = match (error, stat(directory)) {
        (Errno::ENOENT, _) => (ErrorKind::NotFound, "no such directory".to_owned()),
        (Errno::ENOTDIR, _) => (ErrorKind::NotFound, "it is not a directory".to_owned()),
        (Errno::EACCES, Ok(stat)) => {
            (ErrorKind::Denied, format!("permission denied: {}, and we are {}", owner_and_mode(&stat), own_identity()))
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

/// The error with the file's owner and mode, and the identity of this process. The mode applies to root too, because the worker
/// has no capabilities.
fn unreadable(target: Target<'_>, stat: &FileStat) -> ProviderError {
    let message =
        format!("{}: permission denied: {}, and we are {}", target.attempt(), owner_and_mode(stat), own_identity());
    ProviderError::new(ErrorKind::Denied, message)
        .hint(format!("make it readable for uid {} or for one of its groups", geteuid()))
}

/// The path of the file, or of a link's target, if it is below `/dev`, where the worker's Landlock rules forbid reading.
fn path_below_dev(file: &dyn AsFd) -> Option<PathBuf> {
    let path = readlink(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).as_str()).ok().map(PathBuf::from)?;
    (path.starts_with("/dev") && !path.starts_with("/dev/shm")).then_some(path)
}

fn below_dev(target: Target<'_>, path: &Path) -> ProviderError {
    let why = format!("it is `{}`, and below /dev only /dev/shm is read", path.display());
    ProviderError::new(ErrorKind::Denied, format!("{}: permission denied: {why}", target.attempt()))
        .hint("mount it elsewhere, such as below /run")
}

/// The error with the directory that this process may not enter, if the directory can be examined from outside.
fn directory_forbidden(target: Target<'_>) -> ProviderError {
    let full = target.root.map_or_else(|| target.path.to_owned(), |root| root.join(target.path));
    let forbidden = full.ancestors().skip(1).find_map(|directory| {
        let stat = stat(directory).ok()?;
        eaccess(directory, AccessFlags::X_OK).is_err().then(|| (directory.to_owned(), owner_and_mode(&stat)))
    });
    let (what, name) = match &forbidden {
        Some((directory, owner)) => (format!("`{}` is {owner}", directory.display()), quoted(directory)),
        None => ("a directory on its way keeps us out".to_owned(), "each directory on its way".to_owned()),
    };
    let message = format!("{}: permission denied: {what}, and we are {}", target.attempt(), own_identity());
    ProviderError::new(ErrorKind::Denied, message)
        .hint(format!("let uid {} or one of its groups enter {name} (mode `x`)", geteuid()))
}

fn quoted(directory: &Path) -> String {
    format!("`{}`", directory.display())
}

fn owner_and_mode(stat: &FileStat) -> String {
    format!("owned by {}:{} with mode {:04o}", stat.st_uid, stat.st_gid, stat.st_mode & 0o7777)
}

fn own_identity() -> String {
    format!("{}:{} without capabilities", geteuid(), getegid())
}
