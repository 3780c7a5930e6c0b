//! Ownership of stdin, stdout and stderr: an app that opens `/dev/stdout` by its path needs the inode to be its own.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{Uid, fchown, isatty};

use super::status::Status;
use super::{call, fell_short};
use crate::error::{Result, reason};
use crate::plan::Isolation;
use crate::sys::capabilities::{CHOWN, bit};

/// Why an inherited pipe or terminal stays with its owner.
pub(super) const WITHOUT_CHOWN: &str =
    "stdin, stdout or stderr stays with its owner, so /dev/stdout may not open: changing it needs the capability CHOWN";

/// Gives the app each of them that is a pipe or a terminal; anything else is shared with others and never touched.
pub(super) fn hand_over(isolation: &Isolation, found: &Status) -> Result<()> {
    let mut without_chown = false;
    each(|name, descriptor| {
        if !concerned(isolation, descriptor)? {
            return Ok(());
        }
        if found.permitted & bit(CHOWN) == 0 {
            without_chown = true;
            return Ok(());
        }
        let Err(error) = fchown(descriptor, Some(Uid::from_raw(isolation.uid)), None) else { return Ok(()) };
        fell_short(isolation, &format!("cannot give {name} to uid {}: {}", isolation.uid, reason(error)))
    })?;
    if without_chown { fell_short(isolation, WITHOUT_CHOWN) } else { Ok(()) }
}

/// Whether any of them would have to change its owner.
pub(super) fn any_concerned(isolation: &Isolation) -> Result<bool> {
    let mut any = false;
    each(|_, descriptor| {
        any |= concerned(isolation, descriptor)?;
        Ok(())
    })?;
    Ok(any)
}

fn each(mut action: impl FnMut(&str, &dyn AsFd) -> Result<()>) -> Result<()> {
    action("stdin", &std::io::stdin())?;
    action("stdout", &std::io::stdout())?;
    action("stderr", &std::io::stderr())
}

/// Whether it is a pipe or a terminal of another uid.
fn concerned(isolation: &Isolation, descriptor: &dyn AsFd) -> Result<bool> {
    let status: FileStat = fstat(descriptor).map_err(|error| call("look at stdin, stdout and stderr", error))?;
    let kind = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits());
    let shareable = match kind {
        SFlag::S_IFIFO => true,
        SFlag::S_IFCHR => isatty(descriptor).unwrap_or(false),
        _ => false,
    };
    Ok(shareable && status.st_uid != isolation.uid)
}
