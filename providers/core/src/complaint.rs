//! A problem with an input whose place is not known yet.

use std::fmt::Display;

use crate::error::{ErrorKind, ProviderError};

/// A problem with an input, perhaps with a hint. The caller knows the place of the input and adds it
/// ([`Problems::add`](crate::Problems::add)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The problem: lower case, no full stop.
    pub message: String,
    /// How to fix the problem.
    pub hint: Option<String>,
}

impl Complaint {
    /// A complaint without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds a hint: how to fix the problem.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the setting or the reference that has the problem before the message: `` `address`: … ``.
    pub fn context(mut self, about: impl Display) -> Self {
        self.message = format!("{about}: {}", self.message);
        self
    }

    /// Turns the complaint into a provider's failure.
    pub fn into_error(self, kind: ErrorKind) -> ProviderError {
        ProviderError { hint: self.hint, ..ProviderError::new(kind, self.message) }
    }
}

impl From<String> for Complaint {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for Complaint {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}
