//! Extended attributes of files.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Reads an attribute of the file at `path` into `buffer`. A link at the last component is followed. Returns the filled part, or
/// `None` if the file lacks the attribute or its file system has no attributes.
pub fn read<'buffer>(path: &Path, name: &CStr, buffer: &'buffer mut [u8]) -> io::Result<Option<&'buffer [u8]>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both strings end in NUL and live until the call returns; the kernel writes at most `buffer.len()` bytes into
    // `buffer`, which is borrowed mutably.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    part(length, buffer)
}

/// The same for an open file or directory.
pub fn read_open<'buffer>(
    descriptor: BorrowedFd<'_>,
    name: &CStr,
    buffer: &'buffer mut [u8],
) -> io::Result<Option<&'buffer [u8]>> {
    let number = descriptor.as_raw_fd();
    // SAFETY: the descriptor is borrowed, hence open during the call; the name ends in NUL and lives until it returns; the kernel
    // writes at most `buffer.len()` bytes into `buffer`, which is borrowed mutably.
    let length = unsafe { libc::fgetxattr(number, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    part(length, buffer)
}

/// The part of the buffer that the kernel has filled.
fn part(length: libc::ssize_t, buffer: &[u8]) -> io::Result<Option<&[u8]>> {
    match usize::try_from(length) {
        Ok(length) => Ok(buffer.get(..length)),
        Err(_) => unless_absent(io::Error::last_os_error()).map(|()| None),
    }
}

/// Whether an opened file has an attribute.
pub fn has(file: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    // SAFETY: the descriptor is borrowed, hence open during the call; the name ends in NUL; with a size of 0 the kernel only
    // returns the size of the value, and writes nothing.
    let length = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), std::ptr::null_mut(), 0) };
    if length >= 0 { Ok(true) } else { unless_absent(io::Error::last_os_error()).map(|()| false) }
}

/// Removes an attribute from an opened file. Succeeds if the file lacks the attribute.
pub fn remove(file: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed, hence open during the call; the name ends in NUL, and the kernel only reads it.
    let result = unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) };
    if result == 0 { Ok(()) } else { unless_absent(io::Error::last_os_error()) }
}

/// `Ok` if the file lacks the attribute, or its file system has no attributes.
fn unless_absent(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ENODATA | libc::EOPNOTSUPP) => Ok(()),
        _ => Err(error),
    }
}
