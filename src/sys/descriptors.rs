//! System calls on descriptors that no Rust value owns, such as those that handfast inherited.

use std::io;
use std::os::fd::RawFd;

/// Closes every descriptor from `first` to `last`, both included.
///
/// Only for the moment before exec: nothing in this process may use one of these descriptors afterwards.
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
    set_flags(descriptor, 0)
}

/// Lets exec close this descriptor.
pub fn close_on_exec(descriptor: RawFd) -> io::Result<()> {
    set_flags(descriptor, libc::FD_CLOEXEC)
}

fn set_flags(descriptor: RawFd, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: F_SETFD takes a number and changes a flag of the descriptor, no memory; a number that is not open gives EBADF.
    let result = unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
