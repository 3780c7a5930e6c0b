//! Descriptors under chosen numbers, which mount a descriptor is on, and renames that replace nothing unseen.

use std::ffi::{CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{FcntlArg, fcntl};

/// A close-on-exec copy of a descriptor under the lowest free number that is not below `lowest`.
///
/// nix has the call, but returns a plain number, which nothing would close.
pub fn duplicate_from(descriptor: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    let number = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the kernel opened this descriptor in the line above and returned its number only here, so this is its one owner.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The id of the mount that a descriptor was opened on, as in /proc/self/mountinfo (statx, kernel 5.8).
pub fn mount_id(descriptor: BorrowedFd<'_>) -> io::Result<u64> {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    let (flags, mask) = (libc::AT_EMPTY_PATH, libc::STATX_MNT_ID);
    // SAFETY: the descriptor is borrowed, hence open during the call; the path is a literal that ends with a NUL; the
    // kernel writes at most one `struct statx` to `answer`, which is exactly that large and lives until after the call.
    let status = unsafe { libc::statx(descriptor.as_raw_fd(), c"".as_ptr(), flags, mask, answer.as_mut_ptr()) };
    if status == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `statx` is made of integers alone, for which the zeroes that it was made of are a valid value.
    let answer = unsafe { answer.assume_init() };
    if answer.stx_mask & mask == 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
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
    let (old, new) = (CString::new(old.as_bytes())?, CString::new(new.as_bytes())?);
    let flags = match taken {
        Taken::Refuse => libc::RENAME_NOREPLACE,
        Taken::Exchange => libc::RENAME_EXCHANGE,
    };
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: both descriptors are borrowed, hence open during the call; both names end in NUL and live until it returns; the
    // kernel only reads them.
    let result = unsafe { libc::syscall(libc::SYS_renameat2, from, old.as_ptr(), to, new.as_ptr(), flags) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
