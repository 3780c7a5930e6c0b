//! `..handfast` in the files directory: a directory that only we can write. It holds the lock by which one start at a time
//! writes, and the set of files until it is published.
//!
//! Where all can write the files directory, all can also give this name to a directory of another's, and a new directory cannot
//! be told from one that took its place. So ours is made with the sticky bit, which means nothing in a directory that only its
//! owner writes, and which no other directory like that has.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat, umask};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::access_lists;
use super::entries::{self, Directory, open_directory};
use super::failure::{cannot_write, leftover, refusal, warn};
use crate::error::{Error, Result, reason};
use crate::sys::capabilities::FSETID;
use crate::sys::fs::{kind, same};

/// The directory's name.
pub const PRIVATE: &str = "..handfast";
const LOCK: &str = "lock";
const MODE: u32 = 0o1755;
/// How long a start waits at most before it asks for the lock again.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Our turn to write into the files directory. It ends when this is closed: by us, by exec, or with the process.
pub struct Lock {
    private: OwnedFd,
    locked: OwnedFd,
    /// Whether this start has made the directory.
    made: bool,
    /// Whether another start had its turn when we came.
    pub has_waited: bool,
    /// Whether an earlier start has left a directory in it.
    pub has_leftovers: bool,
}

/// How long a start waits for its turn.
pub struct Patience<'a> {
    /// Until when.
    pub deadline: Instant,
    /// The failure of a start that shall end now.
    pub check_interrupts: &'a dyn Fn() -> Result<()>,
}

impl Directory<'_> {
    /// Refuses what has our name and is not ours. Changes nothing.
    pub fn check_private(&self) -> Result<()> {
        match fstatat(self.handle, PRIVATE, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(self.failed("look at", error)),
            Ok(status) => self.check(&status),
        }
    }

    /// Waits for our turn.
    pub fn take_turn(&self, patience: &Patience<'_>) -> Result<Lock> {
        let shortest = Duration::from_millis(1);
        let mut pause = shortest;
        loop {
            if let Some(lock) = self.attempt()? {
                return Ok(Lock { has_waited: pause != shortest, ..lock });
            }
            (patience.check_interrupts)()?;
            let left = patience.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message =
                    format!("cannot write into `{}`: another start writes there, and did not end in time", self.path);
                return Err(refusal(message).hint("give each set of secrets a directory of its own"));
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// `None` where another start has its turn, or the directory changed meanwhile: then it is worth another attempt.
    fn attempt(&self) -> Result<Option<Lock>> {
        let Some((private, made)) = self.open()? else { return Ok(None) };
        let status = fstat(&private).map_err(|error| self.failed("look at", error))?;
        self.check(&status)?;
        let Some(locked) = self.open_lock(private.as_fd(), &status)? else { return Ok(None) };
        if !acquire(&locked).map_err(|error| self.failed("lock", error))? {
            return Ok(None);
        }
        // What is locked must still be what others find, since the directory goes where a first start fails.
        let Ok(found) = fstatat(self.handle, PRIVATE, AtFlags::AT_SYMLINK_NOFOLLOW) else { return Ok(None) };
        if !same(&found, &status) || !fstat(&locked).is_ok_and(|lock| is_at(private.as_fd(), LOCK, &lock)) {
            return Ok(None);
        }
        // A directory has two links, and one more from each directory in it.
        let has_leftovers = found.st_nlink != 2;
        Ok(Some(Lock { private, locked, made, has_waited: false, has_leftovers }))
    }

    /// Opens the directory, and makes it where it is missing; whether it did.
    fn open(&self) -> Result<Option<(OwnedFd, bool)>> {
        let made = match fstatat(self.handle, PRIVATE, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => self.check(&status).map(|()| false)?,
            Err(Errno::ENOENT) => self.make()?,
            Err(error) => return Err(self.failed("look at", error)),
        };
        match open_directory(self.handle, OsStr::new(PRIVATE)) {
            Ok(private) => Ok(Some((private, made))),
            // Another start has failed and removed it.
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(self.failed("open", error)),
        }
    }

    /// With the right mode at once: changing it later could take the setgid bit off.
    fn make(&self) -> Result<bool> {
        let mask = umask(Mode::S_IWGRP | Mode::S_IWOTH);
        let made = mkdirat(self.handle, PRIVATE, Mode::from_bits_truncate(MODE));
        umask(mask);
        match made {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(error) => Err(cannot_write(self.path, PRIVATE, error)),
        }
    }

    fn open_lock(&self, private: BorrowedFd<'_>, status: &FileStat) -> Result<Option<OwnedFd>> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = match fstatat(private, LOCK, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) if kind(&status) == SFlag::S_IFREG && status.st_uid == self.powers.uid => {
                openat(private, LOCK, flags, Mode::empty())
            }
            Ok(_) => return Err(self.foreign("its `lock` is another's")),
            Err(Errno::ENOENT) => {
                let names = entries::names(private).map_err(|error| self.failed("list", error))?;
                if names.iter().any(|name| name == LOCK) {
                    // It was made meanwhile.
                    return Ok(None);
                }
                if !names.is_empty() {
                    return Err(self.foreign("it has no `lock` in it"));
                }
                self.make_plain(private, status)?;
                openat(private, LOCK, flags | OFlag::O_CREAT | OFlag::O_EXCL, Mode::S_IRUSR | Mode::S_IWUSR)
            }
            Err(error) => return Err(self.failed("look into", error)),
        };
        match opened {
            Ok(lock) => Ok(Some(lock)),
            // Another start was faster, or has taken the directory away.
            Err(Errno::EEXIST | Errno::ENOENT) => Ok(None),
            Err(error) => Err(cannot_write(self.path, PRIVATE, error)),
        }
    }

    /// Takes the inherited ACLs off the new directory. They may also have left it a mode by which others cannot enter it.
    fn make_plain(&self, private: BorrowedFd<'_>, status: &FileStat) -> Result<()> {
        let is_right = status.st_mode & 0o777 == MODE & 0o777;
        let setgid = status.st_mode & Mode::S_ISGID.bits();
        let keeps_setgid = self.powers.in_group(status.st_gid) || self.powers.has(FSETID);
        if is_right && setgid != 0 && !keeps_setgid {
            // Each change of the mode would take the setgid bit off, and with it the directory's group from the files. The ACL that stays
            // lets nobody write, because the mode is its mask.
            return access_lists::strip_default(private)
                .map(drop)
                .map_err(|error| self.failed("take the ACL off", error));
        }
        let had_list = access_lists::strip(private).map_err(|error| self.failed("take the ACL off", error))?;
        if had_list || !is_right {
            let mode = Mode::from_bits_truncate(MODE | setgid);
            fchmod(private, mode).map_err(|error| self.failed("set the mode of", error))?;
        }
        Ok(())
    }

    /// Refuses a directory of our name that is not ours.
    pub fn check(&self, status: &FileStat) -> Result<()> {
        let mode = status.st_mode & 0o7777;
        if kind(status) != SFlag::S_IFDIR {
            return Err(self.foreign("it is no directory"));
        }
        if status.st_uid != self.powers.uid || mode & 0o022 != 0 || mode & Mode::S_ISVTX.bits() == 0 {
            return Err(self.foreign(&format!("it belongs to uid {} and has mode {mode:04o}", status.st_uid)));
        }
        Ok(())
    }

    fn foreign(&self, why: &str) -> Error {
        refusal(format!(
            "cannot use `{}`: handfast, as uid {}, did not make the `{PRIVATE}` in it: {why}",
            self.path, self.powers.uid
        ))
        .hint("give each set of secrets a directory of its own, and start handfast as the same uid each time")
    }

    fn failed(&self, step: &str, error: Errno) -> Error {
        refusal(format!("cannot {step} `{PRIVATE}` in `{}`: {}", self.path, reason(error)))
    }
}

impl Lock {
    /// The directory that only we can write.
    pub fn private(&self) -> BorrowedFd<'_> {
        self.private.as_fd()
    }

    /// The numbers of our own descriptors of it.
    pub fn numbers(&self) -> [RawFd; 2] {
        [self.private.as_raw_fd(), self.locked.as_raw_fd()]
    }

    /// Keeps our turn until lockdown or exec closes the descriptor, or the process ends. Nothing of ours owns it from here on.
    pub fn keep(self) {
        let _number = self.locked.into_raw_fd();
    }

    /// Ends the turn of a failed start, and removes the entries that only this start has made.
    pub fn abandon(self, directory: &Directory<'_>) {
        // In a directory where others rename what is not theirs, the name may lead to another's by now.
        let keeps_names = fstat(directory.handle)
            .is_ok_and(|status| status.st_mode & 0o022 == 0 || status.st_mode & Mode::S_ISVTX.bits() != 0);
        let empty = entries::names(self.private()).is_ok_and(|names| names.iter().all(|name| name == LOCK));
        if !self.made || !keeps_names || !empty {
            return;
        }
        let removed = unlinkat(self.private(), LOCK, UnlinkatFlags::NoRemoveDir)
            .and_then(|()| unlinkat(directory.handle, PRIVATE, UnlinkatFlags::RemoveDir));
        if let Err(error) = removed {
            warn(&leftover(directory.path, OsStr::new(PRIVATE), error));
        }
    }
}

/// Whether a name in a directory still leads to what was opened.
pub fn is_at(directory: BorrowedFd<'_>, name: &str, opened: &FileStat) -> bool {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|found| same(&found, opened))
}

/// Takes the lock, unless another holds it. It belongs to the opened file, so no child of ours could end it.
pub fn acquire(file: &OwnedFd) -> nix::Result<bool> {
    let whole =
        libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    let taken = match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        // Not every kernel that stands in for Linux has these; the older ones belong to the process, and keep others out as well.
        Err(Errno::EINVAL) => fcntl(file, FcntlArg::F_SETLK(&whole)),
        taken => taken,
    };
    match taken {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error),
    }
}
