//! Open descriptors: an allow-list, because what the starter left open by mistake can lead out of the container.
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::failure::{call, failed};
use crate::error::{Result, reason};
use crate::sys::descriptors::{close_range, closes_on_exec, keep_over_exec};

/// Since Linux 6.2 its size is how many descriptors are open (Documentation/filesystems/proc.rst).
const LIST: &str = "/proc/self/fd";

/// Closes every descriptor but 0, 1, 2 and those of `keep_open`, which stay open over exec.
pub(super) fn close_all_but(keep_open: &[RawFd]) -> Result<()> {
    let allowed = allowed(keep_open);
    for descriptor in &allowed {
        let failure = |error| call(&format!("keep descriptor {descriptor} open"), error);
        if closes_on_exec(*descriptor).map_err(failure)? {
            keep_over_exec(*descriptor).map_err(failure)?;
        }
    }
    close_gaps(&allowed)
}

/// Closes what the starter left open, before anything of ours takes a number: all but 0, 1, 2 and `own`.
pub fn close_inherited(own: &[RawFd]) -> Result<()> {
    close_gaps(&allowed(own))
}

/// Closes everything but `allowed`, which is sorted.
fn close_gaps(allowed: &[RawFd]) -> Result<()> {
    for (first, last) in gaps(allowed) {
        match close_range(first, last) {
            Ok(()) => {}
            // ENOSYS from an old kernel; the others from seccomp profiles that do not know the call.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::InvalidInput
                ) =>
            {
                return close_one_by_one(allowed);
            }
            Err(error) => return Err(call("close the inherited descriptors", error)),
        }
    }
    Ok(())
}

/// Fails where anything else is open, or one of the allowed is not.
pub(super) fn verify(keep_open: &[RawFd]) -> Result<()> {
    let planned = allowed(keep_open);
    // As many as planned, and each of those: no other. That takes a fraction of reading the list.
    let as_many = std::fs::metadata(LIST).is_ok_and(|list| list.len() == planned.len() as u64);
    if as_many && planned.iter().all(|descriptor| closes_on_exec(*descriptor).is_ok_and(|closes| !closes)) {
        return Ok(());
    }
    let open = open()?;
    if open == planned {
        Ok(())
    } else {
        Err(failed(format!("the open descriptors are {open:?}, planned {planned:?}")))
    }
}

fn allowed(keep_open: &[RawFd]) -> Vec<RawFd> {
    let mut allowed = [&[0, 1, 2], keep_open].concat();
    allowed.sort_unstable();
    allowed.dedup();
    allowed
}

/// The ranges between the allowed numbers, up to the largest.
fn gaps(allowed: &[RawFd]) -> Vec<(u32, u32)> {
    let mut gaps = Vec::with_capacity(allowed.len() + 1);
    let mut next = 0;
    for number in allowed.iter().map(|descriptor| descriptor.cast_unsigned()) {
        if number > next {
            gaps.push((next, number - 1));
        }
        next = number + 1;
    }
    gaps.push((next, u32::MAX));
    gaps
}

fn close_one_by_one(allowed: &[RawFd]) -> Result<()> {
    for descriptor in open()?.into_iter().filter(|descriptor| !allowed.contains(descriptor)) {
        match nix::unistd::close(descriptor) {
            // Linux closes it also where the call is interrupted.
            Ok(()) | Err(Errno::EINTR) => {}
            Err(error) => return Err(call(&format!("close the inherited descriptor {descriptor}"), error)),
        }
    }
    Ok(())
}

/// The open descriptors in order, without the one that this look itself takes.
fn open() -> Result<Vec<RawFd>> {
    let unreadable = |why: String| failed(format!("cannot read `{LIST}`: {why}"));
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let failed_to_read = |error: Errno| unreadable(reason(error));
    let mut directory = Dir::open(LIST, flags, Mode::empty()).map_err(failed_to_read)?;
    let own = directory.as_raw_fd();
    let mut open: Vec<RawFd> = Vec::new();
    for entry in directory.iter() {
        match entry.map_err(failed_to_read)?.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => open.push(name.parse().map_err(|_| unreadable("an entry that is no number".into()))?),
            Err(_) => return Err(unreadable("an entry that is no number".into())),
        }
    }
    open.retain(|descriptor| *descriptor != own);
    open.sort_unstable();
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_cover_everything_but_the_allowed() {
        assert_eq!(gaps(&[0, 1, 2]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[0, 1, 2, 3, 5, 9]), [(4, 4), (6, 8), (10, u32::MAX)]);
        assert_eq!(gaps(&allowed(&[9, 3, 3, 0])), [(4, 8), (10, u32::MAX)]);
        assert_eq!(gaps(&[0, 1, 2, RawFd::MAX]), [(3, 0x7fff_fffe), (0x8000_0000, u32::MAX)]);
    }

    #[test]
    fn the_list_holds_what_is_open_and_not_itself() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let open = open().unwrap();
        assert!(open.contains(&file.as_raw_fd()));
        assert!(open.is_sorted());
    }
}
