//! The failures of this stage.
#![forbid(unsafe_code)]

use crate::error::{Class, Error, Phase};

/// A failure to start the app.
pub fn failure(class: Class, message: String) -> Error {
    Error::new(Phase::Launch, class, message)
}
