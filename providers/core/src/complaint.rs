//! What is wrong with an input, before it is known where the input stands.

use std::fmt::Display;

use crate::error::{ErrorKind, ProviderError};

/// What is wrong with an input, and perhaps what to write instead. The caller knows where the input stands and adds the place
/// ([`Problems::add`](crate::Problems::add)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Complaint {
    /// A complaint without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// The same with a hint: what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the setting or the reference that it is about, before the message: `` `address`: … ``.
    pub fn context(mut self, about: impl Display) -> Self {
        self.message = format!("{about}: {}", self.message);
        self
    }

    /// The same as a provider's failure.
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
