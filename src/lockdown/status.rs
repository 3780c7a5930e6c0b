//! The kernel's report on this thread: the lines of `/proc/thread-self/status` about isolation.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;

use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::failure::failed;
use crate::error::{Error, reason};

const PATH: &str = "/proc/thread-self/status";
/// The most bytes that are read, far more than the file has: 65536 groups take less than 1 MiB.
const LIMIT: u64 = 1 << 20;

/// Ids, capability sets and flags of the calling thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Real, effective, saved and file system uid.
    pub uids: [u32; 4],
    /// The gids, likewise.
    pub gids: [u32; 4],
    /// Supplementary groups, sorted, each once.
    pub groups: Vec<u32>,
    /// The inheritable set.
    pub inheritable: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The effective set.
    pub effective: u64,
    /// The bounding set.
    pub bounding: u64,
    /// The ambient set.
    pub ambient: u64,
    /// Whether `no_new_privs` is set: exec can add no privileges.
    pub no_new_privileges: bool,
    /// How many threads the process has.
    pub threads: u32,
}

impl Status {
    /// Reads the status of the calling thread.
    pub fn read() -> Result<Self, Error> {
        let unreadable = |why: String| {
            failed(format!("cannot read `{PATH}`: {why}")).hint("mount procfs on /proc: isolation is verified there")
        };
        let file = File::open(PATH).map_err(|error| unreadable(reason(error)))?;
        let system = fstatfs(&file).map_err(|error| unreadable(reason(error)))?;
        if system.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(unreadable("it is not on procfs".into()));
        }
        let mut text = Vec::with_capacity(2048);
        file.take(LIMIT).read_to_end(&mut text).map_err(|error| unreadable(reason(error)))?;
        Self::parse(&text).map_err(unreadable)
    }

    /// Reads the file's text. The `Name` line may contain any bytes; the lines that are used are ASCII.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let mut lines: Vec<(&[u8], &[u8])> = Vec::with_capacity(64);
        lines.extend(text.split(|byte| *byte == b'\n').filter_map(|line| {
            let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
            Some((name, &value[1..]))
        }));
        let line = |name: &str| {
            let found = lines.iter().find(|(known, _)| *known == name.as_bytes());
            let value = found.and_then(|(_, value)| std::str::from_utf8(value).ok());
            value.ok_or_else(|| format!("no line `{name}`"))
        };
        let numbers = |name: &str| {
            let parsed: Result<Vec<u32>, _> = line(name)?.split_whitespace().map(str::parse).collect();
            parsed.map_err(|_| format!("malformed line `{name}`"))
        };
        let ids = |name: &str| <[u32; 4]>::try_from(numbers(name)?).map_err(|_| format!("malformed line `{name}`"));
        let number = |name: &str| match numbers(name)?[..] {
            [number] => Ok(number),
            _ => Err(format!("malformed line `{name}`")),
        };
        let set =
            |name: &str| u64::from_str_radix(line(name)?.trim(), 16).map_err(|_| format!("malformed line `{name}`"));
        Ok(Self {
            uids: ids("Uid")?,
            gids: ids("Gid")?,
            groups: sorted(numbers("Groups")?),
            inheritable: set("CapInh")?,
            permitted: set("CapPrm")?,
            effective: set("CapEff")?,
            bounding: set("CapBnd")?,
            ambient: set("CapAmb")?,
            no_new_privileges: number("NoNewPrivs")? == 1,
            threads: number("Threads")?,
        })
    }
}

fn sorted(mut groups: Vec<u32>) -> Vec<u32> {
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Name:\tx\nUmask:\t0022\nUid:\t0\t1\t2\t4294967294\nGid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t27 4 4 \n\
        Threads:\t1\nCapInh:\t0000000000000001\nCapPrm:\t0000000000000002\nCapEff:\t0000000000000004\n\
        CapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000008\nNoNewPrivs:\t1\nSeccomp:\t0\n";

    #[test]
    fn every_line_that_counts_is_read() {
        let status = Status::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(
            status,
            Status {
                uids: [0, 1, 2, 4_294_967_294],
                gids: [5, 6, 7, 8],
                groups: vec![4, 27],
                inheritable: 1,
                permitted: 2,
                effective: 4,
                bounding: 0x1ff_feff_ffff,
                ambient: 8,
                no_new_privileges: true,
                threads: 1,
            }
        );
    }

    #[test]
    fn no_groups_is_an_empty_list() {
        let text = TEXT.replace("27 4 4 ", " ");
        assert_eq!(Status::parse(text.as_bytes()).unwrap().groups, Vec::<u32>::new());
    }

    #[test]
    fn a_name_of_any_bytes_changes_nothing() {
        let mut text = b"Name:\t\xff\xfe\\n\n".to_vec();
        text.extend_from_slice(&TEXT.as_bytes()[8..]);
        assert_eq!(Status::parse(&text), Status::parse(TEXT.as_bytes()));
    }

    #[test]
    fn a_missing_or_malformed_line_is_refused_by_name() {
        for name in ["Uid", "Gid", "Groups", "Threads", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"]
        {
            let missing = TEXT.replace(&format!("{name}:"), "Other:");
            assert_eq!(Status::parse(missing.as_bytes()), Err(format!("no line `{name}`")));
            let malformed = TEXT.replace(&format!("{name}:\t"), &format!("{name}:\tx"));
            assert_eq!(Status::parse(malformed.as_bytes()), Err(format!("malformed line `{name}`")));
        }
        assert!(Status::parse(b"").is_err());
    }

    #[test]
    fn the_own_status_can_be_read() {
        let status = Status::read().unwrap();
        assert_eq!(status.uids[1], nix::unistd::geteuid().as_raw());
        assert!(status.threads >= 1);
    }
}
