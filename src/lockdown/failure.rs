//! The failures of this stage.
#![forbid(unsafe_code)]

use crate::error::{Class, Error, Phase, Result, reason};
use crate::plan::Isolation;

/// Reports that a best-effort step did not work: as a warning, or as an error if the plan is strict.
pub fn fell_short(isolation: &Isolation, shortcoming: &str) -> Result<()> {
    if isolation.strict {
        return Err(failed(shortcoming).hint("[app] strict = true makes this a failure"));
    }
    tracing::warn!(target: "handfast", "{shortcoming}");
    Ok(())
}

/// A failure of this stage: the app would be less isolated than the configuration requires.
pub fn failed(message: impl Into<String>) -> Error {
    Error::new(Phase::Lockdown, Class::Isolation, message)
}

/// The failure of a step that the kernel refused.
pub fn call(what: &str, error: impl Into<std::io::Error>) -> Error {
    failed(format!("cannot {what}: {}", reason(error))).hint(
        "a seccomp profile, a security module or a user namespace may forbid it: see the container's security settings",
    )
}
