//! A login that was made, and how long its token lives.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use handfast_core::SecretValue;

use crate::auth::Login;

/// A login that was made.
pub struct Held {
    /// The login.
    pub login: Login,
    /// Which login of the session it is, from 1 on.
    pub number: u64,
    /// How long its token lives, where that is known.
    pub life: Cell<Option<Life>>,
    /// Vault does not take its token any more.
    pub is_lost: Cell<bool>,
}

/// How long a token lives.
#[derive(Clone, Copy)]
pub struct Life {
    /// For how long it was given, which a renewal asks for again.
    pub whole: Duration,
    /// How long it lives from `since`.
    pub left: Duration,
    /// When that was known.
    pub since: SystemTime,
    /// Whether it can be renewed.
    pub renewable: bool,
}

impl Held {
    /// The token of every request.
    pub fn token(&self) -> Option<&SecretValue> {
        self.login.token.as_ref()
    }

    /// Whether another login has the same token.
    pub fn has_token_of(&self, login: &Login) -> bool {
        self.token().map(SecretValue::expose) == login.token.as_ref().map(SecretValue::expose)
    }

    /// How long it lives from `now`, where that is known.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        self.life.get().map(|life| life.left.saturating_sub(now.duration_since(life.since).unwrap_or_default()))
    }
}
