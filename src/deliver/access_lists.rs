//! Access lists (POSIX ACLs): a directory's default list would let others read what is made in it, whatever its mode says.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::failure::errno;
use crate::sys::attributes;

const ACCESS: &CStr = c"system.posix_acl_access";
const DEFAULT: &CStr = c"system.posix_acl_default";

/// Takes both lists off a directory of ours, and looks that they are gone: what is made in it then inherits none. Whether there was
/// one: what its mode gave the group was the list's mask, and is now the group's.
pub fn strip(directory: BorrowedFd<'_>) -> nix::Result<bool> {
    Ok(remove(directory, DEFAULT)? | remove(directory, ACCESS)?)
}

/// The same of the default list alone. Unlike the other, it can be taken off without a change of the mode.
pub fn strip_default(directory: BorrowedFd<'_>) -> nix::Result<bool> {
    remove(directory, DEFAULT)
}

fn remove(directory: BorrowedFd<'_>, list: &CStr) -> nix::Result<bool> {
    if !has(directory, list)? {
        return Ok(false);
    }
    attributes::remove(directory, list).map_err(errno)?;
    if has(directory, list)? { Err(Errno::EPERM) } else { Ok(true) }
}

/// Whether an opened file has a list besides its mode.
pub fn has_one(file: BorrowedFd<'_>) -> nix::Result<bool> {
    has(file, ACCESS)
}

fn has(file: BorrowedFd<'_>, list: &CStr) -> nix::Result<bool> {
    attributes::has(file, list).map_err(errno)
}
