//! File capabilities: the kernel refuses to execute a file with effective file capabilities (such as `ping` in some images) if
//! the bounding set lacks one of them.
#![forbid(unsafe_code)]

use std::path::Path;

use nix::sys::statvfs::{FsFlags, Statvfs};

use super::failure::failure;
use crate::error::{Class, Error, reason};
use crate::lockdown;
use crate::plan::Isolation;
use crate::sys::attributes;
use crate::sys::capabilities::names;

const REVISION_MASK: u32 = 0xff00_0000;
const REVISION_1: u32 = 0x0100_0000;
const REVISION_2: u32 = 0x0200_0000;
const EFFECTIVE: u32 = 1;

/// The capabilities that a file must get to be executed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Demanded {
    permitted: u64,
    inheritable: u64,
}

/// Refuses a file that the kernel will refuse to execute.
pub(super) fn refuse_unbounded(path: &Path, mount: &Statvfs, isolation: &Isolation) -> Result<(), Error> {
    // The kernel ignores file capabilities on such a mount.
    if mount.flags().contains(FsFlags::ST_NOSUID) {
        return Ok(());
    }
    let mut buffer = [0; 24];
    let value = match attributes::read(path, c"security.capability", &mut buffer) {
        Ok(Some(value)) => value,
        Ok(None) => return Ok(()),
        Err(error) => {
            // The file may be executable anyway: exec will tell.
            handfast_core::debug!("cannot read the file capabilities of `{}`: {}", path.display(), reason(error));
            return Ok(());
        }
    };
    let Some(demanded) = parse(value) else { return Ok(()) };
    let granted =
        demanded.permitted & lockdown::bounding_after(isolation)? | demanded.inheritable & isolation.capabilities;
    let refused = demanded.permitted & !granted;
    if refused == 0 {
        return Ok(());
    }
    let message = format!(
        "cannot execute `{}`: its file capabilities {} lie outside the capability bounding set",
        path.display(),
        names(refused)
    );
    Err(failure(Class::NotExecutable, message)
        .hint("add them to keep_capabilities, or remove them from the file: setcap -r"))
}

/// Reads the attribute. `None` if it demands nothing: it is not effective, or belongs to another user namespace (revision 3).
fn parse(value: &[u8]) -> Option<Demanded> {
    let words: Vec<u32> =
        value.chunks_exact(4).map(|chunk| u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).collect();
    let (&magic, sets) = words.split_first()?;
    if magic & EFFECTIVE == 0 {
        return None;
    }
    let (permitted, inheritable) = match (magic & REVISION_MASK, sets) {
        (REVISION_1, &[permitted, inheritable]) => ([permitted, 0], [inheritable, 0]),
        (REVISION_2, &[permitted, inheritable, high_permitted, high_inheritable]) => {
            ([permitted, high_permitted], [inheritable, high_inheritable])
        }
        _ => return None,
    };
    let join = |[low, high]: [u32; 2]| u64::from(low) | u64::from(high) << 32;
    Some(Demanded { permitted: join(permitted), inheritable: join(inheritable) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn effective_capabilities_of_both_revisions_are_read() {
        let second = attribute(&[REVISION_2 | EFFECTIVE, 0x2000, 1, 0x80, 2]);
        assert_eq!(parse(&second), Some(Demanded { permitted: 0x80_0000_2000, inheritable: 0x2_0000_0001 }));
        let first = attribute(&[REVISION_1 | EFFECTIVE, 0x2000, 1]);
        assert_eq!(parse(&first), Some(Demanded { permitted: 0x2000, inheritable: 1 }));
    }

    #[test]
    fn anything_else_demands_nothing() {
        assert_eq!(parse(&attribute(&[REVISION_2, 0x2000, 0, 0, 0])), None, "not effective");
        assert_eq!(parse(&attribute(&[0x0300_0000 | EFFECTIVE, 0x2000, 0, 0, 0, 1000])), None, "of another namespace");
        assert_eq!(parse(&attribute(&[REVISION_2 | EFFECTIVE, 0x2000])), None, "too short");
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[1, 2, 3]), None);
    }
}
