//! The results of requests: of a secret in a round, and of later work.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::{ErrorKind, Grant, ProviderError, SecretValue, Standing, Term};

use crate::plan::Secret;

/// The result for one secret in a round.
pub struct Outcome {
    /// The secret, as an index into the plan's.
    pub secret: usize,
    /// Its values, or why there are none.
    pub result: Result<Vec<Part>, Failure>,
    /// How long the store's answer holds.
    pub term: Term,
    /// How long ago the answer came.
    pub age: Duration,
}

/// The result of due work.
pub enum Done {
    /// Requests were answered, each by its number.
    Read(Vec<(usize, Vec<Outcome>)>),
    /// The lease of a request was renewed, or was not.
    Renewed(usize, Result<Grant, Failure>),
    /// The result of the upkeep of an instance's login.
    UpkeepDone(usize, Result<Option<Standing>, ProviderError>),
}

/// A secret's value, or one of several: a field's of `#*`, a secret's of a list.
pub struct Part {
    /// Its name, where there are several.
    pub name: Option<String>,
    /// The value.
    pub value: SecretValue,
}

/// A change of a secret: each of its values by name, the new ones with their bytes. Empty if the secret is gone.
pub struct Change(pub Vec<(Option<String>, Piece)>);

/// One value in a change.
pub enum Piece {
    /// It is new.
    Value(SecretValue),
    /// It has not changed.
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
