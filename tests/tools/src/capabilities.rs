//! The names of capabilities.

const NAMES: [&str; 41] = [
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

/// The default capabilities of a container of Docker and containerd.
const DOCKER: u64 = 0xa804_25fb;

/// Every capability that this kernel may know.
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// The bit of a capability, by its name with or without `CAP_`.
#[must_use]
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == short).map(|index| 1 << index)
}

/// Parses a comma-separated list of names, `none`, `all` or `docker`.
///
/// # Errors
///
/// If a name is unknown.
pub fn set(list: &str) -> Result<u64, String> {
    list.split(',').try_fold(0, |set, name| match name {
        "none" => Ok(set),
        "all" => Ok(ALL),
        "docker" => Ok(set | DOCKER),
        name => bit(name).map(|bit| set | bit).ok_or_else(|| format!("unknown capability {name}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_the_kernels_numbers() {
        assert_eq!(set("CHOWN"), Ok(1));
        assert_eq!(set("cap_sys_admin,setuid"), Ok(1 << 21 | 1 << 7));
        assert_eq!(set("CHECKPOINT_RESTORE"), Ok(1 << 40));
        assert_eq!(set("none"), Ok(0));
        assert!(set("ROOT").is_err());
    }

    #[test]
    fn docker_stands_for_its_fourteen() {
        let listed = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,mknod,\
                      audit_write,setfcap";
        assert_eq!(set("docker"), set(listed));
    }
}
