//! Finding and opening a file without leaving its root and without magic links.
//!
//! `openat2` would do it in the kernel. But its flags stand in memory, which a seccomp filter cannot read, so the worker's filter
//! refuses it, and [`walk`] does the same, name by name.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

/// A directory that is only walked through.
const PASSAGE: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A file by its path, below a root or anywhere.
#[derive(Clone, Copy)]
pub struct Target<'p> {
    pub path: &'p Path,
    pub root: Option<&'p Path>,
}

impl Target<'_> {
    /// The file, found and not opened: enough to ask what it is, and nothing happens to it. Opening a device or a named pipe
    /// can do something to it.
    pub fn locate(&self) -> Result<OwnedFd, Errno> {
        self.resolve(OFlag::O_PATH)
    }

    /// The file, opened to be read. Never blocks: a named pipe may have taken its place since it was looked at.
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

/// How far a path may lead.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    /// To any place, though by no magic link.
    Anywhere,
    /// To places below the starting directory; absolute links and `..` beyond it are refused.
    Beneath,
}

/// What the kernel does in `openat2`, name by name. No name that is opened is a link, so that none is followed unseen.
fn walk(start: BorrowedFd<'_>, path: &Path, flags: OFlag, reach: Reach) -> Result<OwnedFd, Errno> {
    /// As many as the kernel follows.
    const MOST_LINKS: usize = 40;
    let step = |here: BorrowedFd<'_>, name: &OsStr| openat(here, name, PASSAGE, Mode::empty());
    let mut pending = Vec::new();
    let mut passed = vec![openat(start, ".", PASSAGE, Mode::empty())?];
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
                // Back to where we came from, which is below the root whatever was moved meanwhile.
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

/// Puts a path's names on the stack, the first on top. A `/` at the end stays, as `.`: what stands before it is a directory.
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

/// Whether the links of this directory are magic: they lead to an open file, a namespace or another process' root, whatever
/// their text says. All of procfs' are, except those in its top directory (`self`, `mounts`).
fn is_magic(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    const TOP: u64 = 1;
    Ok(fstatfs(directory)?.filesystem_type() == PROC_SUPER_MAGIC && fstat(directory)?.st_ino != TOP)
}

#[cfg(test)]
mod tests;
