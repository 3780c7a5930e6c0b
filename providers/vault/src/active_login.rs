//! A login in use, and the lifetime of its token.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use handfast_core::SecretValue;

use crate::auth::Login;

/// A login in use.
pub struct ActiveLogin {
    /// The login.
    pub login: Login,
    /// The login's number in the session, from 1.
    pub number: u64,
    /// The lifetime of its token, if known.
    pub life: Cell<Option<Life>>,
    /// Whether Vault does not accept its token any more.
    pub is_lost: Cell<bool>,
}

/// The lifetime of a token.
#[derive(Clone, Copy)]
pub struct Life {
    /// The original lifetime, which a renewal requests again.
    pub whole: Duration,
    /// The remaining lifetime at the time `since`.
    pub left: Duration,
    /// The time of `left`.
    pub since: SystemTime,
    /// Whether it can be renewed.
    pub renewable: bool,
}

impl ActiveLogin {
    /// The token for every request.
    pub fn token(&self) -> Option<&SecretValue> {
        self.login.token.as_ref()
    }

    /// Whether another login has the same token.
    pub fn has_token_of(&self, login: &Login) -> bool {
        self.token().map(SecretValue::expose) == login.token.as_ref().map(SecretValue::expose)
    }

    /// The remaining lifetime at the time `now`, if known.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        self.life.get().map(|life| life.left.saturating_sub(now.duration_since(life.since).unwrap_or_default()))
    }
}
