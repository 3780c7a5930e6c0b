//! Closing descriptors that no value of ours owns: those that handfast was started with.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Closes every descriptor from `first` to `last`, both included.
///
/// Only for the moment before exec: whatever in this process still holds one of them must not use it any more.
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the call takes three numbers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0 as libc::c_uint) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether exec closes this descriptor.
pub fn closes_on_exec(descriptor: RawFd) -> io::Result<bool> {
    // SAFETY: F_GETFD takes no argument and changes nothing; a number that is not open gives EBADF.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
    if flags == -1 { Err(io::Error::last_os_error()) } else { Ok(flags & libc::FD_CLOEXEC != 0) }
}

/// Keeps this descriptor open over exec.
pub fn keep_over_exec(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes a number and changes a flag of the descriptor, no memory; a number that is not open gives EBADF.
    let result = unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Calls `each` with the name of every entry of a directory, `.` and `..` too.
///
/// Not readdir(3): its buffer would be all that handfast takes from libc's allocator, which costs ten times the reading.
pub fn each_name(directory: BorrowedFd<'_>, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    // struct linux_dirent64: inode and offset, eight bytes each, the entry's size, its type, then the name up to a NUL.
    const SIZE: usize = 16;
    const NAME: usize = 19;
    let mut buffer = [0u8; 4096];
    loop {
        let (number, space) = (directory.as_raw_fd(), buffer.len());
        // SAFETY: the kernel writes at most `space` bytes to `buffer`, which has that size and lives until the call returns.
        let length = unsafe { libc::syscall(libc::SYS_getdents64, number, buffer.as_mut_ptr(), space) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let malformed = || io::Error::from(io::ErrorKind::InvalidData);
            let size = rest.get(SIZE..SIZE + 2).map(|size| u16::from_ne_bytes([size[0], size[1]]));
            let (entry, others) = size.and_then(|size| rest.split_at_checked(size.into())).ok_or_else(malformed)?;
            let name = entry.get(NAME..).and_then(|name| name.split(|byte| *byte == 0).next());
            each(name.ok_or_else(malformed)?);
            rest = others;
        }
    }
}
