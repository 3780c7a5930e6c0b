//! The failures of what stays in front of the app.
#![forbid(unsafe_code)]

use crate::error::{Class, Error, Phase, reason};

/// The failure of a step of the supervisor's own.
pub fn system(what: &str, error: impl Into<std::io::Error>) -> Error {
    Error::new(Phase::Launch, Class::Os, format!("cannot {what}: {}", reason(error)))
}
