//! Ownership of stdin, stdout and stderr: an app that opens `/dev/stdout` by its path must own the inode.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{Uid, fchown, isatty};

use super::failure::{call, fell_short};
use super::status::Status;
use crate::error::{Result, reason};
use crate::plan::Isolation;
use crate::sys::capabilities::{CHOWN, bit};
use crate::sys::fs::kind;

/// Why an inherited pipe or terminal stays with its owner.
pub(super) const WITHOUT_CHOWN: &str =
    "stdin, stdout or stderr stays with its owner, so /dev/stdout may not open: changing it needs the capability CHOWN";

/// Makes the app the owner of each of these descriptors that is a pipe or a terminal. Other files are shared with other
/// processes, and are not changed.
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

/// Whether the owner of any of these descriptors would have to change.
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

/// Whether a descriptor is a pipe or a terminal of another uid.
fn concerned(isolation: &Isolation, descriptor: &dyn AsFd) -> Result<bool> {
    let status: FileStat = fstat(descriptor).map_err(|error| call("look at stdin, stdout and stderr", error))?;
    let shareable = match kind(&status) {
        SFlag::S_IFIFO => true,
        SFlag::S_IFCHR => isatty(descriptor).unwrap_or(false),
        _ => false,
    };
    Ok(shareable && status.st_uid != isolation.uid)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn of(uid: u32) -> Isolation {
        Isolation { uid, gid: 1, groups: vec![], defaulted: false, capabilities: 0, core_dumps: false, strict: false }
    }

    #[test]
    fn only_pipes_and_terminals_of_another_uid_are_touched() {
        let own = nix::unistd::geteuid().as_raw();
        let (reader, writer) = std::io::pipe().unwrap();
        let terminal = File::open("/dev/ptmx").unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let regular = File::open("/proc/self/exe").unwrap();
        let directory = File::open("/").unwrap();
        let touched: [(&str, &dyn AsFd, bool); 7] = [
            ("pipe", &reader, true),
            ("pipe", &writer, true),
            ("terminal", &terminal, true),
            ("socket", &socket, false),
            ("/dev/null", &null, false),
            ("regular file", &regular, false),
            ("directory", &directory, false),
        ];
        for (name, descriptor, expected) in touched {
            assert_eq!(concerned(&of(54321), descriptor).unwrap(), expected, "{name}");
        }
        assert!(!concerned(&of(own), &reader).unwrap(), "it is the app's already");
    }
}
