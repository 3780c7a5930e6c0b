//! The keys that requests are signed with.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_smithy_types::date_time::{DateTime, Format};
use handfast_core::{ErrorKind, ProviderError, SecretValue};

/// The keys of an identity.
pub struct Keys {
    /// The access key's id, which is no secret.
    pub id: String,
    /// The access key.
    pub secret: SecretValue,
    /// What goes with keys that end.
    pub session_token: Option<SecretValue>,
    /// When they end.
    pub expires: Option<SystemTime>,
}

impl Keys {
    /// The keys as the SDK takes them.
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

/// A time as AWS writes it: `2026-11-27T20:00:00Z`.
pub fn time(text: &str) -> Option<SystemTime> {
    DateTime::from_str(text, Format::DateTimeWithOffset).ok()?.try_into().ok()
}

/// What a way has come to.
pub enum Found {
    /// Keys.
    Keys(Keys),
    /// It is not set up here: why.
    Passed(String),
    /// A part of it is set up, which AWS' own tools ignore: what it lacks.
    Half(String),
}
