//! The way to a file, walked component by component on descriptors: what was looked at is what is then opened.
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

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// A way that was walked to its end.
pub struct Way {
    /// The directory that the entry is in.
    pub parent: OwnedFd,
    /// Its name there.
    pub name: OsString,
    /// The entry: a place and nothing that is open. Never a link.
    pub entry: OwnedFd,
    /// What it is.
    pub status: FileStat,
    /// Its path, which holds no links.
    pub path: PathBuf,
    /// What speaks against a directory on the way, where that depends on who the app is.
    pub suspects: Vec<Suspect>,
}

/// A directory on the way.
struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
    /// Others than those who are believed may put a link here.
    foreign_links: bool,
}

/// Walks a path; a relative one from the working directory, whose own way is asked too. Ends at the first place where somebody
/// who is not believed may turn it elsewhere.
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
        if status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits() {
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

/// Looks at a directory on the way.
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
        // `/` again behind each absolute link.
        if !suspects.contains(&suspect) {
            suspects.push(suspect);
        }
    }
    let foreign_links = access::others_may_link(descriptor.as_fd(), &status)?;
    Ok(Directory { descriptor, path, foreign_links })
}

/// The entry of this name, and never what a link there leads to.
fn place(directory: &OwnedFd, name: &OsString, is_last: bool) -> Result<OwnedFd, Refusal> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // What is mounted on demand is mounted for whoever asks for a directory.
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

/// Puts the components before those that are left. Not `Path::components`, which would take `.` away; an end in `/` asks for a directory.
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

/// Whether it is one.
pub fn is_directory(status: &FileStat) -> bool {
    status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}
