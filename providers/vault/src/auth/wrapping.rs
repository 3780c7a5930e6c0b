//! Wrapping tokens: each opens what it holds once (developer.hashicorp.com/vault/docs/concepts/response-wrapping).

use std::cell::Cell;

use handfast_core::{Context, Credential, ErrorKind, ProviderError, SecretValue};
use handfast_http::Response;

use crate::api::{Api, endpoints};
use crate::explain;

/// What a wrapping token holds, opened once: a login that is tried again must not open it again.
pub struct Wrapped {
    credential: Credential,
    opened: Cell<bool>,
}

impl Wrapped {
    /// What the token in `credential` holds.
    pub fn new(credential: Credential) -> Self {
        Self { credential, opened: Cell::new(false) }
    }

    /// Opens it. `what` is what it holds: "token".
    pub async fn open(&self, what: &str, api: &Api, context: &Context) -> Result<Response, ProviderError> {
        let wrapping = self.credential.read("wrapping token", context)?;
        let attempted = format!("cannot unwrap the {what}");
        let again = self.opened.replace(true);
        let response = api.send(&endpoints::Unwrap, Some(&wrapping)).await?;
        if response.is_success() {
            return Ok(response);
        }
        Err(refused(&response, &attempted, again))
    }
}

/// Why a wrapping token does not open, which may have been tried before by this start.
pub fn refused(response: &Response, attempted: &str, again: bool) -> ProviderError {
    if let Some(error) = explain::unavailable(response, attempted) {
        return error;
    }
    // The first attempt may have opened it, and its answer been lost.
    let by_whom = if again { ", perhaps by this start's own first attempt, whose answer was lost" } else { "" };
    match response.status() {
        400 | 403 => ProviderError::new(
            ErrorKind::Denied,
            format!("{attempted}: the wrapping token is not valid: its time is over, or it was opened before{by_whom}"),
        )
        .hint("if nobody of yours has opened it, someone else may have: what it held must then be revoked"),
        _ => response.failure(attempted),
    }
}

/// Keeps what was opened, for a login that is tried again.
#[derive(Default)]
pub struct Kept(Cell<Option<SecretValue>>);

impl Kept {
    /// A copy of what is kept.
    pub fn copy(&self) -> Option<SecretValue> {
        let kept = self.0.take()?;
        let copy = SecretValue::from(kept.expose().to_vec());
        self.0.set(Some(kept));
        Some(copy)
    }

    /// Keeps a copy of it.
    pub fn keep(&self, value: &SecretValue) {
        self.0.set(Some(SecretValue::from(value.expose().to_vec())));
    }
}
