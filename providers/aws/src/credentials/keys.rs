//! The keys for signing requests.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_smithy_types::date_time::{DateTime, Format};
use handfast_core::{ErrorKind, ProviderError, SecretValue};

/// The keys of an identity.
pub struct Keys {
    /// The access key's id, which is not secret.
    pub id: String,
    /// The access key.
    pub secret: SecretValue,
    /// The session token of temporary keys.
    pub session_token: Option<SecretValue>,
    /// The expiry of temporary keys.
    pub expires: Option<SystemTime>,
}

impl Keys {
    /// Converts the keys for the SDK.
    pub fn for_sdk(&self) -> Result<Credentials, ProviderError> {
        let text = |value: &SecretValue, what: &str| {
            std::str::from_utf8(value.expose()).map(str::to_owned).map_err(|_| {
                ProviderError::new(ErrorKind::Denied, format!("cannot sign a request: the {what} is not text"))
            })
        };
        let token = self.session_token.as_ref().map(|token| text(token, "session token")).transpose()?;
        let secret = text(&self.secret, "secret access key")?;
        Ok(Credentials::new(self.id.clone(), secret, token, self.expires, "handfast"))
    }
}

/// Parses a time in AWS's form: `2026-11-27T20:00:00Z`.
pub fn time(text: &str) -> Option<SystemTime> {
    DateTime::from_str(text, Format::DateTimeWithOffset).ok()?.try_into().ok()
}

/// The result of a way to get keys.
pub enum Found {
    /// Keys.
    Keys(Keys),
    /// It is not set up, for this reason.
    NotSetUp(String),
    /// It is set up in part, which AWS's own tools ignore. The text says which part is missing.
    Incomplete(String),
}
