//! Walks the path of a file component by component on descriptors, so that the file that was checked is the file that is opened.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::getcwd;

use super::access;
use super::rules::{Refusal, Trust};
use super::suspect::{Fault, Kind, Suspect};
use crate::sys::fs::kind;

/// The most links that are followed, as in the kernel.
const MAX_LINKS: usize = 40;

/// The result of a walk that reached its end.
pub struct Way {
    /// The directory that the entry is in.
    pub parent: OwnedFd,
    /// The entry's name in the directory.
    pub name: OsString,
    /// The entry, as an `O_PATH` descriptor, so it is not open for reading. Never a link.
    pub entry: OwnedFd,
    /// The entry's status.
    pub status: FileStat,
    /// The entry's path, without links.
    pub path: PathBuf,
    /// The suspects among the directories on the way that only matter for some identities of the app.
    pub suspects: Vec<Suspect>,
}

/// A directory on the way.
struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
    /// Whether somebody who is not trusted may put a link into the directory.
    foreign_links: bool,
}

/// Walks a path. A relative path starts at the working directory, whose own path is checked too. Fails at the first place where
/// somebody who is not trusted may lead the path elsewhere.
pub fn walk(trust: Trust, path: &Path) -> Result<Way, Refusal> {
    let path = if path.is_absolute() || path.as_os_str().is_empty() { path.into() } else { getcwd()?.join(path) };
    let mut suspects = Vec::new();
    let mut components = VecDeque::new();
    push_front(&mut components, &path);
    let mut links = 0;
    let mut current = root(trust, &mut suspects)?;
    while let Some(name) = components.pop_front() {
        let is_last = components.is_empty();
        let entry = place(&current.descriptor, &name, is_last)?;
        let status = fstat(&entry)?;
        let path = if name == ".." { parent_of(&current.path) } else { current.path.join(&name) };
        if kind(&status) == SFlag::S_IFLNK {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP.into());
            }
            if current.foreign_links && !trust.believes(status.st_uid) {
                return Err(Refusal::Suspect(Box::new(Suspect::new(&path, &status, Kind::Link, Fault::Link))));
            }
            let target = PathBuf::from(readlinkat(&entry, "")?);
            if target.is_absolute() {
                current = root(trust, &mut suspects)?;
            }
            push_front(&mut components, &target);
            continue;
        }
        if is_last {
            return Ok(Way { parent: current.descriptor, name, entry, status, path, suspects });
        }
        if !is_directory(&status) {
            return Err(Errno::ENOTDIR.into());
        }
        current = directory(trust, entry, path, &mut suspects)?;
    }
    Err(if path.as_os_str().is_empty() { Errno::ENOENT } else { Errno::EISDIR }.into())
}

fn root(trust: Trust, suspects: &mut Vec<Suspect>) -> Result<Directory, Refusal> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    directory(trust, open("/", flags, Mode::empty())?, "/".into(), suspects)
}

/// Checks a directory on the way.
fn directory(
    trust: Trust,
    descriptor: OwnedFd,
    path: PathBuf,
    suspects: &mut Vec<Suspect>,
) -> Result<Directory, Refusal> {
    let status = fstat(&descriptor)?;
    if let Some(suspect) = access::suspect(descriptor.as_fd(), &path, &status, Kind::Directory, trust)? {
        if !suspect.depends_on_app() {
            return Err(Refusal::Suspect(Box::new(suspect)));
        }
        // The walk starts at `/` again for each absolute link.
        if !suspects.contains(&suspect) {
            suspects.push(suspect);
        }
    }
    let foreign_links = access::others_may_link(descriptor.as_fd(), &status)?;
    Ok(Directory { descriptor, path, foreign_links })
}

/// Opens the entry of this name as a place (`O_PATH`), without following a link.
fn place(directory: &OwnedFd, name: &OsString, is_last: bool) -> Result<OwnedFd, Refusal> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // O_DIRECTORY makes an automounter mount the directory.
    let as_directory = if is_last {
        Err(Errno::ENOTDIR)
    } else {
        openat(directory, name.as_os_str(), flags | OFlag::O_DIRECTORY, Mode::empty())
    };
    match as_directory {
        Err(Errno::ENOTDIR | Errno::ELOOP) => Ok(openat(directory, name.as_os_str(), flags, Mode::empty())?),
        opened => Ok(opened?),
    }
}

fn parent_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).into()
}

/// Puts the path's components before the remaining ones. `Path::components` would remove `.`; here, a `/` at the end still
/// requires a directory.
fn push_front(components: &mut VecDeque<OsString>, path: &Path) {
    let bytes = path.as_os_str().as_bytes();
    let parts = bytes.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    if bytes.ends_with(b"/") && components.is_empty() {
        components.push_front(".".into());
    }
    for part in parts.rev() {
        components.push_front(OsString::from_vec(part.to_vec()));
    }
}

/// Whether the status is a directory's.
pub fn is_directory(status: &FileStat) -> bool {
    kind(status) == SFlag::S_IFDIR
}
