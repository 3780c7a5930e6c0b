//! The ids and effective capabilities of handfast, as read from the kernel. The rules take them from this value, so tests can make one.
#![forbid(unsafe_code)]

use crate::error::{Result, reason};
use crate::sys::capabilities::{self, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SYS_ADMIN, bit};

/// Our identity and effective capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Powers {
    /// The effective uid.
    pub uid: u32,
    /// The effective gid.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The effective capabilities, a bit per number.
    pub capabilities: u64,
    /// Whether writing where the mode says otherwise is only possible until the first set is published (`later`).
    pub gives_up_override: bool,
}

impl Powers {
    /// Reads them for the calling thread.
    pub fn read() -> Result<Self> {
        let capabilities = capabilities::sets()
            .map_err(|error| {
                super::failure::refusal(format!("cannot read this process' capabilities: {}", reason(error)))
            })?
            .effective;
        let groups = nix::unistd::getgroups().map_err(|error| {
            super::failure::refusal(format!("cannot read the supplementary groups: {}", reason(error)))
        })?;
        Ok(Self {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            groups: groups.into_iter().map(|group| group.as_raw()).collect(),
            capabilities,
            gives_up_override: false,
        })
    }

    /// The powers that count for a process that will write later sets with less: those that stay then, and SYS_ADMIN for the mount of
    /// our own, which is made before.
    pub fn later(self) -> Self {
        let stay = bit(CHOWN) | bit(FOWNER) | bit(FSETID) | bit(SETGID) | bit(SYS_ADMIN);
        let gives_up_override = self.has(DAC_OVERRIDE);
        Self { capabilities: self.capabilities & stay, gives_up_override, ..self }
    }

    /// Whether a capability is effective.
    pub fn has(&self, capability: u8) -> bool {
        self.capabilities & bit(capability) != 0
    }

    /// Whether a group is ours.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_a_bit() {
        let powers = Powers { capabilities: 0x20_0041, ..Powers::default() };
        assert!(powers.has(CHOWN) && powers.has(SETGID) && powers.has(SYS_ADMIN));
        assert!(!powers.has(FOWNER));
    }

    #[test]
    fn our_own_powers_can_be_read() {
        assert_eq!(Powers::read().unwrap().uid, nix::unistd::geteuid().as_raw());
    }
}
