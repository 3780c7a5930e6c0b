//! Which parts of a cage a kernel and a container allow, and the messages about the missing ones.
#![forbid(unsafe_code)]

use crate::error::{Class, Error, Phase, Result};
use crate::sys;

/// The best-effort parts of a cage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cage {
    /// The version of Landlock that is in force, 0 for none.
    pub(super) landlock: u8,
    /// Whether the seccomp filter is in force.
    pub(super) seccomp: bool,
}

/// The features of Landlock that the cage uses: the version of Landlock that brought each, its name, and the first kernel with
/// it.
const LANDLOCK_PARTS: [(u8, &str, &str); 4] = [
    (1, "Landlock", "Linux 5.13"),
    (3, "Landlock's rule against truncating files", "Linux 6.2"),
    (5, "Landlock's rule against controlling devices", "Linux 6.10"),
    (6, "Landlock's scopes for signals and abstract sockets", "Linux 6.12"),
];

/// The newest version of Landlock of which the cage uses a feature.
const LANDLOCK_COMPLETE: u8 = 6;

/// The bit of an encoded cage that says that the seccomp filter is in force.
const SECCOMP: u8 = 0x80;

impl Cage {
    /// The best cage that the kernel and the container allow.
    pub fn possible() -> Self {
        let landlock = sys::landlock::version().try_into().unwrap_or(LANDLOCK_COMPLETE).min(LANDLOCK_COMPLETE);
        Self { landlock, seccomp: sys::seccomp::available() }
    }

    /// Encodes the cage as one byte.
    pub fn encode(self) -> u8 {
        self.landlock | if self.seccomp { SECCOMP } else { 0 }
    }

    /// Decodes such a byte.
    pub fn decode(byte: u8) -> Self {
        Self { landlock: byte & !SECCOMP, seccomp: byte & SECCOMP != 0 }
    }

    /// The names of the missing parts; each with the first kernel that has it, if this kernel is too old.
    fn lacks(self) -> Vec<(&'static str, Option<&'static str>)> {
        let all_of_landlock = if self.landlock == 0 { 1 } else { LANDLOCK_PARTS.len() };
        let landlock = LANDLOCK_PARTS.iter().filter(|(version, ..)| *version > self.landlock).take(all_of_landlock);
        let landlock = landlock.map(|(_, part, kernel)| (*part, Some(*kernel)));
        landlock.chain((!self.seccomp).then_some(("seccomp", None))).collect()
    }
}

/// The parts that a cage would lack on this machine, one sentence each. Nothing is sandboxed to find out.
pub fn missing() -> Vec<String> {
    let sentence = |(part, kernel): (&str, Option<&str>)| match kernel {
        Some(kernel) => format!("{part}, for the worker ({kernel})"),
        None => format!("{part} for the worker"),
    };
    Cage::possible().lacks().into_iter().map(sentence).collect()
}

/// Fails before the fetch if the plan is strict and this machine does not allow every part of the cage.
pub fn refuse_incomplete(strict: bool) -> Result<()> {
    match lacking(Cage::possible()).filter(|_| strict) {
        Some(parts) => Err(refused(format!("the worker would run without {parts}"))),
        None => Ok(()),
    }
}

/// Logs which parts are missing. With `strict`, a missing part ends the start.
pub fn report(cage: Cage, strict: bool) -> Result<()> {
    let Some(parts) = lacking(cage) else { return Ok(()) };
    let message = format!("the worker ran without {parts}");
    if strict {
        return Err(refused(message));
    }
    tracing::warn!(target: "handfast", "{message}: {WHY}");
    Ok(())
}

const WHY: &str = "this kernel or container does not let it";

/// The names of the missing parts, for a message.
fn lacking(cage: Cage) -> Option<String> {
    let missing: Vec<&str> = cage.lacks().into_iter().map(|(part, _)| part).collect();
    (!missing.is_empty()).then(|| missing.join(" and "))
}

fn refused(message: String) -> Error {
    Error::new(Phase::Fetch, Class::Isolation, format!("{message}: {WHY}"))
        .hint("[app] strict = true makes this a failure")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(landlock: u8, seccomp: bool) -> Vec<&'static str> {
        Cage { landlock, seccomp }.lacks().into_iter().map(|(part, _)| part).collect()
    }

    #[test]
    fn every_part_that_a_kernel_lacks_is_told() {
        let (truncating, devices) =
            ("Landlock's rule against truncating files", "Landlock's rule against controlling devices");
        let scopes = "Landlock's scopes for signals and abstract sockets";
        assert_eq!(lacks(6, true), [""; 0]);
        assert_eq!(lacks(7, false), ["seccomp"]);
        assert_eq!(lacks(0, false), ["Landlock", "seccomp"]);
        assert_eq!(lacks(1, true), [truncating, devices, scopes]);
        assert_eq!(lacks(3, true), [devices, scopes]);
        assert_eq!(lacks(5, true), [scopes]);
    }

    #[test]
    fn strict_takes_nothing_less_than_the_whole() {
        for (landlock, strict, is_refused) in [(6, true, false), (5, true, true), (5, false, false), (0, true, true)] {
            let told = report(Cage { landlock, seccomp: true }, strict);
            assert_eq!(told.is_err_and(|error| error.class == Class::Isolation), is_refused, "{landlock}");
        }
    }

    #[test]
    fn a_cage_is_told_in_a_byte() {
        for cage in [
            Cage { landlock: 0, seccomp: true },
            Cage { landlock: 6, seccomp: false },
            Cage { landlock: 6, seccomp: true },
        ] {
            assert_eq!(Cage::decode(cage.encode()), cage);
        }
    }
}
