//! Descriptors under chosen numbers, the fields of a status, the mount of a descriptor, and renames that replace no unseen entry.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use nix::sys::stat::{FileStat, SFlag};
use rustix::fs::{AtFlags, RenameFlags, StatxFlags, renameat_with, statx};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

/// A close-on-exec copy of a descriptor under the lowest free number that is not below `lowest`.
///
/// nix has the call, but returns a plain number, which nothing would close.
pub fn duplicate_from(descriptor: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(descriptor, lowest)?)
}

/// The type of a file, from its status.
pub fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

/// Whether two statuses are of one file.
pub fn same(one: &FileStat, other: &FileStat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The id of the mount that a descriptor was opened on, as in /proc/self/mountinfo (statx, kernel 5.8).
pub fn mount_id(descriptor: BorrowedFd<'_>) -> io::Result<u64> {
    let answer = statx(descriptor, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if answer.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(Errno::NOSYS.into());
    }
    Ok(answer.stx_mnt_id)
}

/// The behaviour of a rename if the new name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The rename fails.
    Refuse,
    /// The two entries exchange their names.
    Exchange,
}

/// Renames an entry of one opened directory into another (renameat2).
///
/// nix has the call only for glibc.
pub fn rename(
    (from, old): (BorrowedFd<'_>, &OsStr),
    (to, new): (BorrowedFd<'_>, &OsStr),
    taken: Taken,
) -> io::Result<()> {
    let flags = match taken {
        Taken::Refuse => RenameFlags::NOREPLACE,
        Taken::Exchange => RenameFlags::EXCHANGE,
    };
    Ok(renameat_with(from, old, to, new, flags)?)
}
