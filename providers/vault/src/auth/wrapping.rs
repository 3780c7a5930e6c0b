//! Wrapping tokens: each can be unwrapped only once (developer.hashicorp.com/vault/docs/concepts/response-wrapping).

use std::cell::Cell;

use handfast_core::{Context, Credential, ErrorKind, ProviderError, SecretValue};
use handfast_http::Response;

use crate::api::{Api, endpoints};
use crate::explain;

/// A wrapping token. A retry of the login must not unwrap it again.
pub struct Wrapped {
    credential: Credential,
    was_tried: Cell<bool>,
}

impl Wrapped {
    /// The wrapping token in `credential`.
    pub fn new(credential: Credential) -> Self {
        Self { credential, was_tried: Cell::new(false) }
    }

    /// Unwraps it. `what` names its content: "token".
    pub async fn unwrap(&self, what: &str, api: &Api, context: &Context) -> Result<Response, ProviderError> {
        let wrapping = self.credential.read("wrapping token", context)?;
        let attempted = format!("cannot unwrap the {what}");
        let again = self.was_tried.replace(true);
        let response = api.send(&endpoints::Unwrap, Some(&wrapping)).await?;
        if response.is_success() {
            return Ok(response);
        }
        Err(unwrap_refused(&response, &attempted, again))
    }
}

/// The error for a wrapping token that Vault does not unwrap. `again` says whether this start has tried it before.
pub fn unwrap_refused(response: &Response, attempted: &str, again: bool) -> ProviderError {
    if let Some(error) = explain::unavailable(response, attempted) {
        return error;
    }
    // The first attempt may have succeeded in Vault, and its response may have been lost.
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

/// The content of a wrapping token, for a retry of the login.
#[derive(Default)]
pub struct Kept(Cell<Option<SecretValue>>);

impl Kept {
    /// A copy of the content, if there is any.
    pub fn copy(&self) -> Option<SecretValue> {
        let kept = self.0.take()?;
        let copy = SecretValue::from(kept.expose().to_vec());
        self.0.set(Some(kept));
        Some(copy)
    }

    /// Stores a copy of the content.
    pub fn keep(&self, value: &SecretValue) {
        self.0.set(Some(SecretValue::from(value.expose().to_vec())));
    }
}
