//! Access lists (POSIX ACLs): a directory's default list would let others read the files made in it, whatever their mode is.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::failure::errno;
use crate::sys::attributes;

const ACCESS: &CStr = c"system.posix_acl_access";
const DEFAULT: &CStr = c"system.posix_acl_default";

/// Removes both lists from a directory of ours, and reads back that they are gone, so that new entries inherit none. Returns whether
/// there was one: the group's bits of the mode were the list's mask until now.
pub fn strip(directory: BorrowedFd<'_>) -> nix::Result<bool> {
    Ok(remove(directory, DEFAULT)? | remove(directory, ACCESS)?)
}

/// Removes the default list alone. Unlike the other list, it can be removed without a change of the mode.
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
