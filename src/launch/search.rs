//! Finding the command before anything is fetched, so that a wrong one delivers nothing.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::walk::{End, Inode, walk};
use super::{Program, failure, file_capabilities};
use crate::error::{Class, Error, Result, reason};
use crate::plan::Isolation;

/// Where an app without PATH looks, as in Docker.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a candidate turned out to be.
enum Candidate {
    Executable,
    Missing,
    /// This process cannot see whether it is there; the app can.
    Unseen,
    Refused(Error),
}

/// Finds `command` as the app's identity will: a name in the app's PATH (its relative and empty entries are skipped), anything
/// with a `/` as it is.
pub fn resolve(command: &OsStr, path: Option<&OsStr>, isolation: &Isolation) -> Result<Program> {
    if command.is_empty() {
        return Err(failure(Class::CommandNotFound, "cannot execute the command: it is empty".into()));
    }
    if command.as_bytes().contains(&b'/') {
        return resolve_path(PathBuf::from(command), isolation);
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    let mut unseen = None;
    for directory in path.as_bytes().split(|byte| *byte == b':').filter(|directory| directory.starts_with(b"/")) {
        let candidate = Path::new(OsStr::from_bytes(directory)).join(command);
        match examine(&candidate, isolation) {
            Candidate::Executable => return Ok(Program { path: candidate }),
            Candidate::Missing => {}
            Candidate::Unseen => unseen = unseen.or(Some(candidate)),
            Candidate::Refused(error) => refused = refused.or(Some(error)),
        }
    }
    match (unseen, refused) {
        (Some(path), _) => Ok(Program { path }),
        (None, Some(error)) => Err(error),
        (None, None) => {
            let message = format!("cannot find the command `{}` in PATH `{}`", command.display(), path.display());
            Err(failure(Class::CommandNotFound, message)
                .hint("give its absolute path, or set PATH; empty and relative entries of PATH are skipped"))
        }
    }
}

fn resolve_path(path: PathBuf, isolation: &Isolation) -> Result<Program> {
    match examine(&path, isolation) {
        Candidate::Executable | Candidate::Unseen => Ok(Program { path }),
        Candidate::Refused(error) => Err(error),
        Candidate::Missing => {
            let message = format!("cannot execute `{}`: no such file or directory", path.display());
            Err(failure(Class::CommandNotFound, message))
        }
    }
}

fn examine(path: &Path, isolation: &Isolation) -> Candidate {
    match walk(path, isolation) {
        End::Missing => Candidate::Missing,
        End::Unseen => Candidate::Unseen,
        End::Failed(error) => Candidate::Refused(refused(path, &reason(error))),
        End::Reached { closed: Some(directory), .. } => Candidate::Refused(cannot_enter(path, &directory, isolation)),
        End::Reached { inode, closed: None } => match examine_inode(path, &inode, isolation) {
            Ok(()) => Candidate::Executable,
            Err(error) => Candidate::Refused(error),
        },
    }
}

fn examine_inode(path: &Path, inode: &Inode, isolation: &Isolation) -> Result<()> {
    if !inode.is_regular() {
        let kind = if inode.is_directory() { "it is a directory" } else { "it is no regular file" };
        return Err(refused(path, kind));
    }
    if !inode.executable_for(isolation) {
        return Err(refused(path, &format!("uid {} may not execute it", isolation.uid))
            .hint(format!("{inode}; set its mode (chmod 0755) or owner in the image")));
    }
    let mount =
        statvfs(&inode.path).map_err(|error| refused(path, &format!("cannot look at its mount: {}", reason(error))))?;
    if mount.flags().contains(FsFlags::ST_NOEXEC) {
        return Err(refused(path, "its file system is mounted noexec")
            .hint("mount it without noexec, or put the program elsewhere"));
    }
    file_capabilities::refuse_unbounded(&inode.path, &mount, isolation)
}

fn cannot_enter(path: &Path, directory: &Inode, isolation: &Isolation) -> Error {
    refused(path, &format!("uid {} cannot enter the directory `{}`", isolation.uid, directory.path.display()))
        .hint(format!("{directory}; let others enter it (chmod o+x), or put the program elsewhere"))
}

fn refused(path: &Path, why: &str) -> Error {
    failure(Class::NotExecutable, format!("cannot execute `{}`: {why}", path.display()))
}
