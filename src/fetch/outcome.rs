//! What becomes of a secret in a round.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::{ErrorKind, ProviderError, SecretValue};

use crate::plan::Secret;

/// What became of one secret in a round.
pub struct Outcome {
    /// The secret, as an index into the plan's.
    pub secret: usize,
    /// Its values, or why there are none.
    pub result: Result<Vec<Part>, Failure>,
    /// How long it lives, where it was issued for us alone.
    pub lease: Option<Duration>,
}

impl Outcome {
    /// The same; a failure where it has a lease, which nothing here renews, and which is not to be asked for again and again.
    pub fn without_lease(self) -> Self {
        let Some(lease) = self.lease else { return self };
        let lease = humantime::format_duration(lease);
        let message = format!("it has a lease of {lease}, and `watch` renews no lease in this version");
        let error = ProviderError::new(ErrorKind::Malformed, message)
            .hint("use `init` or `run`, and a lease that outlives the app");
        Self { result: Err(Failure { error, attempts: 1 }), ..self }
    }
}

/// A secret's value, or one of several: a field's of `#*`, a secret's of a list.
pub struct Part {
    /// Its name, where there are several.
    pub name: Option<String>,
    /// The value.
    pub value: SecretValue,
}

/// What a change of a secret is: each of its values by name, the new ones with their bytes. None at all where it is gone.
pub struct Change(pub Vec<(Option<String>, Piece)>);

/// One value in a change.
pub enum Piece {
    /// It is new.
    Value(SecretValue),
    /// It is as it was.
    Same,
}

/// Why a secret could not be fetched.
#[derive(Debug)]
pub struct Failure {
    /// The provider's error, or that of the selection.
    pub error: ProviderError,
    /// How often it was tried.
    pub attempts: u32,
}

impl Failure {
    /// Whether it says that an optional secret does not exist.
    pub fn is_absence(&self, secret: &Secret) -> bool {
        secret.optional && self.error.kind == ErrorKind::NotFound
    }
}
