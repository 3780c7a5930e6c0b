//! The files of a keeper in `..handfast`, which `ready` reads: `alive`, which a living keeper has locked, and `status.json`.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::failure::{cannot_write, refusal};
use super::lock::acquire;
use super::write::write_all;
use crate::error::{Result, reason};

pub use super::lock::PRIVATE;

/// The file that a living keeper has locked.
pub const ALIVE: &str = "alive";
/// The status of the secrets.
pub const STATUS: &str = "status.json";

const NEW_ALIVE: &str = "alive.new";
const NEW_STATUS: &str = "status.new";

/// The lock that shows that we live. The kernel takes it back with this process.
pub struct Presence {
    alive: OwnedFd,
}

impl Presence {
    /// The number of its descriptor.
    pub fn number(&self) -> RawFd {
        self.alive.as_raw_fd()
    }
}

/// Shows that a keeper lives. The file is locked before anybody can open it.
pub fn announce(path: &str, private: BorrowedFd<'_>) -> Result<Presence> {
    let at = |error| cannot_write(path, ALIVE, error);
    let alive = create(private, NEW_ALIVE).map_err(at)?;
    // Before others can open it: a lock for reading would keep ours away.
    match acquire(&alive) {
        Ok(true) => {}
        Ok(false) => {
            return Err(refusal(format!("cannot lock `{ALIVE}` in `{path}`: another process holds the lock")));
        }
        Err(error) => return Err(refusal(format!("cannot lock `{ALIVE}` in `{path}`: {}", reason(error)))),
    }
    open_to_all(&alive).and_then(|()| renameat(private, NEW_ALIVE, private, ALIVE)).map_err(at)?;
    Ok(Presence { alive })
}

/// Replaces the status file.
pub fn write_status(path: &str, private: BorrowedFd<'_>, status: &[u8]) -> Result<()> {
    let written = create(private, NEW_STATUS)
        .and_then(|file| write_all(file.as_fd(), status).and_then(|()| open_to_all(&file)))
        .and_then(|()| renameat(private, NEW_STATUS, private, STATUS));
    written.map_err(|error| cannot_write(path, STATUS, error))
}

/// Lets everybody read it.
fn open_to_all(file: &OwnedFd) -> nix::Result<()> {
    fchmod(file, Mode::from_bits_truncate(0o644))
}

/// Removes the status file of an earlier keeper.
pub fn remove_status(path: &str, private: BorrowedFd<'_>) -> Result<()> {
    remove(private, STATUS).map_err(|error| refusal(format!("cannot remove `{STATUS}` in `{path}`: {}", reason(error))))
}

/// Makes a new file. A file that has its name already was left by a keeper that was killed.
fn create(private: BorrowedFd<'_>, name: &str) -> nix::Result<OwnedFd> {
    remove(private, name)?;
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(private, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
}

/// Removes a file, where it is there.
fn remove(private: BorrowedFd<'_>, name: &str) -> nix::Result<()> {
    match unlinkat(private, OsStr::new(name), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}
