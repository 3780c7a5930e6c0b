//! Finds and opens a file without leaving its root and without following magic links.
//!
//! The kernel's `openat2` can do this, but the worker's seccomp filter refuses it: its flags are in memory, which a filter cannot
//! read. [`walk`] does the same, name by name.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

/// The flags to open a directory that is only walked through.
const PASSAGE: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A file's path: below a root, or anywhere.
#[derive(Clone, Copy)]
pub struct Target<'p> {
    pub path: &'p Path,
    pub root: Option<&'p Path>,
}

impl Target<'_> {
    /// Finds the file without opening it (`O_PATH`), to check its kind. Opening a device or a named pipe could have an effect.
    pub fn locate(&self) -> Result<OwnedFd, Errno> {
        self.resolve(OFlag::O_PATH)
    }

    /// Opens the file for reading. Never blocks, because a named pipe may have replaced the file since it was checked.
    pub fn open(&self) -> Result<OwnedFd, Errno> {
        self.resolve(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
    }

    fn resolve(&self, flags: OFlag) -> Result<OwnedFd, Errno> {
        let Some(root) = self.root else {
            return walk(AT_FDCWD, self.path, flags, Reach::Anywhere);
        };
        let root = walk(AT_FDCWD, root, OFlag::O_PATH | OFlag::O_DIRECTORY, Reach::Anywhere)?;
        walk(root.as_fd(), self.path, flags, Reach::Beneath)
    }
}

/// The directories that a path may lead to.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    /// Any directory, but not through a magic link.
    Anywhere,
    /// Directories below the starting directory. Absolute links and `..` beyond it are refused.
    Beneath,
}

/// Resolves a path name by name, as the kernel's `openat2` does. It opens every name without following a link, so that it checks
/// each link before it follows it.
fn walk(start: BorrowedFd<'_>, path: &Path, flags: OFlag, reach: Reach) -> Result<OwnedFd, Errno> {
    /// The most links that are followed, as in the kernel.
    const MOST_LINKS: usize = 40;
    let step = |here: BorrowedFd<'_>, name: &OsStr| openat(here, name, PASSAGE, Mode::empty());
    let mut pending = Vec::new();
    let mut passed = Vec::new();
    // An absolute path does not lead through the working directory, which this process may not be able to enter.
    if !path.is_absolute() {
        passed.push(openat(start, ".", PASSAGE, Mode::empty())?);
    }
    let mut links = 0;
    enqueue(path.as_os_str(), reach, &mut pending, &mut passed)?;
    while let Some(name) = pending.pop() {
        let here = passed.last().ok_or(Errno::EXDEV)?.as_fd();
        if name == "." {
            continue;
        }
        if name == ".." {
            match reach {
                Reach::Anywhere => passed.push(step(here, &name)?),
                // The parent is the directory that was opened before. It was below the root, even if a directory has moved since.
                Reach::Beneath if passed.len() > 1 => drop(passed.pop()),
                Reach::Beneath => return Err(Errno::EXDEV),
            }
            continue;
        }
        match readlinkat(here, name.as_os_str()) {
            Ok(_) if is_magic(here)? => return Err(Errno::ELOOP),
            Ok(_) if links == MOST_LINKS => return Err(Errno::ELOOP),
            Ok(target) => {
                links += 1;
                enqueue(&target, reach, &mut pending, &mut passed)?;
            }
            Err(Errno::EINVAL) if pending.is_empty() => {
                let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                return openat(here, name.as_os_str(), flags, Mode::empty());
            }
            Err(Errno::EINVAL) => passed.push(step(here, &name)?),
            Err(error) => return Err(error),
        }
    }
    openat(passed.last().ok_or(Errno::EXDEV)?, ".", flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// Puts a path's names on the stack, the first on top. A `/` at the end becomes `.`, so that the name before it must be a
/// directory.
fn enqueue(path: &OsStr, reach: Reach, pending: &mut Vec<OsString>, passed: &mut Vec<OwnedFd>) -> Result<(), Errno> {
    let bytes = path.as_bytes();
    if bytes.is_empty() {
        return Err(Errno::ENOENT);
    }
    if bytes[0] == b'/' {
        if reach == Reach::Beneath {
            return Err(Errno::EXDEV);
        }
        passed.push(open("/", PASSAGE, Mode::empty())?);
    }
    let names = bytes.split(|byte| *byte == b'/').map(|name| if name.is_empty() { b"." } else { name });
    pending.extend(names.rev().map(|name| OsStr::from_bytes(name).to_owned()));
    Ok(())
}

/// Whether the links of this directory are magic: a magic link leads to an open file, a namespace or another process's root, and
/// not to the path that is its text. All links of procfs are magic, except those in its top directory (`self`, `mounts`).
fn is_magic(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    const TOP: u64 = 1;
    Ok(fstatfs(directory)?.filesystem_type() == PROC_SUPER_MAGIC && fstat(directory)?.st_ino != TOP)
}

#[cfg(test)]
mod tests;
