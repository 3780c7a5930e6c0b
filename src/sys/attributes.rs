//! Extended attributes of files.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs;
use rustix::io::Errno;

/// Reads an attribute of the file at `path` into `buffer`. A link at the last component is followed. Returns the filled part, or
/// `None` if the file lacks the attribute or its file system has no attributes.
pub fn read<'buffer>(path: &Path, name: &CStr, buffer: &'buffer mut [u8]) -> io::Result<Option<&'buffer [u8]>> {
    Ok(unless_absent(fs::getxattr(path, name, &mut *buffer))?.and_then(|length| buffer.get(..length)))
}

/// The same for an open file or directory.
pub fn read_open<'buffer>(
    descriptor: BorrowedFd<'_>,
    name: &CStr,
    buffer: &'buffer mut [u8],
) -> io::Result<Option<&'buffer [u8]>> {
    Ok(unless_absent(fs::fgetxattr(descriptor, name, &mut *buffer))?.and_then(|length| buffer.get(..length)))
}

/// Whether an opened file has an attribute.
pub fn has(file: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    Ok(unless_absent(fs::fgetxattr_query(file, name))?.is_some())
}

/// Removes an attribute from an opened file. Succeeds if the file lacks the attribute.
pub fn remove(file: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    unless_absent(fs::fremovexattr(file, name)).map(drop)
}

/// `None` if the file lacks the attribute, or its file system has no attributes.
fn unless_absent<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
