//! Capabilities of the calling thread, and their names. A set is a `u64`, with one bit per capability number.
#![forbid(unsafe_code)]

use std::io;

use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// `CAP_CHOWN`.
pub const CHOWN: u8 = 0;
/// `CAP_DAC_OVERRIDE`.
pub const DAC_OVERRIDE: u8 = 1;
/// `CAP_DAC_READ_SEARCH`.
pub const DAC_READ_SEARCH: u8 = 2;
/// `CAP_FOWNER`.
pub const FOWNER: u8 = 3;
/// `CAP_FSETID`.
pub const FSETID: u8 = 4;
/// `CAP_KILL`.
pub const KILL: u8 = 5;
/// `CAP_SETGID`.
pub const SETGID: u8 = 6;
/// `CAP_SETUID`.
pub const SETUID: u8 = 7;
/// `CAP_SETPCAP`.
pub const SETPCAP: u8 = 8;
/// `CAP_SYS_ADMIN`.
pub const SYS_ADMIN: u8 = 21;

/// The names without `CAP_`, by number.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// `SECBIT_NO_SETUID_FIXUP`: a change of uid does not change the sets.
pub const NO_SETUID_FIXUP: u32 = 1 << 2;
/// `SECBIT_KEEP_CAPS`: the flag that [`set_keep`] changes and exec clears.
pub const KEEP_CAPS: u32 = 1 << 4;
/// `SECBIT_KEEP_CAPS_LOCKED`.
pub const KEEP_CAPS_LOCKED: u32 = 1 << 5;
/// `SECBIT_NO_CAP_AMBIENT_RAISE`.
pub const NO_AMBIENT_RAISE: u32 = 1 << 6;

/// The three sets that capset(2) changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sets {
    /// The capabilities that the kernel checks.
    pub effective: u64,
    /// The capabilities that may be made effective.
    pub permitted: u64,
    /// The capabilities that may be kept over exec.
    pub inheritable: u64,
}

/// The number of a capability. The name is in upper or lower case, with or without `CAP_`.
pub fn number(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    (0..).zip(NAMES).find(|(_, known)| *known == bare).map(|(number, _)| number)
}

/// The set with one capability.
pub const fn bit(number: u8) -> u64 {
    1 << number
}

/// The numbers of the capabilities in a set.
pub fn numbers(set: u64) -> impl Iterator<Item = u8> {
    (0..64).filter(move |number| set & bit(*number) != 0)
}

/// The names of the capabilities in a set, for people: a number where there is no name, `none` for the empty set.
pub fn names(set: u64) -> String {
    let list: Vec<String> =
        numbers(set).map(|number| NAMES.get(usize::from(number)).map_or(number.to_string(), |n| (*n).into())).collect();
    if list.is_empty() { "none".into() } else { list.join(", ") }
}

/// The calling thread's three sets.
pub fn sets() -> io::Result<Sets> {
    let CapabilitySets { effective, permitted, inheritable } = thread::capabilities(None)?;
    Ok(Sets { effective: effective.bits(), permitted: permitted.bits(), inheritable: inheritable.bits() })
}

/// Changes the calling thread's three sets.
pub fn set(Sets { effective, permitted, inheritable }: Sets) -> io::Result<()> {
    let [effective, permitted, inheritable] = [effective, permitted, inheritable].map(CapabilitySet::from_bits_retain);
    Ok(thread::set_capabilities(None, CapabilitySets { effective, permitted, inheritable })?)
}

/// Empties the ambient set.
pub fn clear_ambient() -> io::Result<()> {
    Ok(thread::clear_ambient_capability_set()?)
}

/// Adds a capability to the ambient set.
pub fn raise_ambient(number: u8) -> io::Result<()> {
    Ok(thread::configure_capability_in_ambient_set(single(number), true)?)
}

/// Removes a capability from the bounding set.
pub fn drop_bounding(number: u8) -> io::Result<()> {
    Ok(thread::remove_capability_from_bounding_set(single(number))?)
}

/// Sets whether the thread keeps its permitted set when it changes from uid 0 to another uid.
pub fn set_keep(keep: bool) -> io::Result<()> {
    Ok(thread::set_keep_capabilities(keep)?)
}

/// The securebits.
pub fn securebits() -> io::Result<u32> {
    Ok(thread::capabilities_secure_bits()?.bits())
}

fn single(number: u8) -> CapabilitySet {
    CapabilitySet::from_bits_retain(bit(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_and_without_prefix_in_any_case() {
        assert_eq!(number("NET_BIND_SERVICE"), Some(10));
        assert_eq!(number("cap_net_bind_service"), Some(10));
        assert_eq!(number("Cap_Checkpoint_Restore"), Some(40));
        for wrong in ["", "CAP_", "CAP_CAP_CHOWN", "ALL", "0", "CHOWN ", "NET-RAW"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_constants_are_the_numbers_of_their_names() {
        for (name, constant) in [
            ("CHOWN", CHOWN),
            ("DAC_OVERRIDE", DAC_OVERRIDE),
            ("DAC_READ_SEARCH", DAC_READ_SEARCH),
            ("FOWNER", FOWNER),
            ("FSETID", FSETID),
            ("KILL", KILL),
            ("SETGID", SETGID),
            ("SETUID", SETUID),
            ("SETPCAP", SETPCAP),
            ("SYS_ADMIN", SYS_ADMIN),
        ] {
            assert_eq!(number(name), Some(constant));
        }
    }

    #[test]
    fn a_set_is_written_by_name_and_by_number_where_there_is_none() {
        assert_eq!(names(0), "none");
        assert_eq!(names(1 | 1 << 10 | 1 << 63), "CHOWN, NET_BIND_SERVICE, 63");
    }

    #[test]
    fn the_sets_read_are_those_of_proc() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        let sets = sets().unwrap();
        assert_eq!(sets.effective, line("CapEff:"));
        assert_eq!(sets.permitted, line("CapPrm:"));
        assert_eq!(sets.inheritable, line("CapInh:"));
    }
}
