//! The sources of credentials that a provider's `auth` can name.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::context::Context;
use crate::error::{ErrorKind, ProviderError};
use crate::secret::SecretValue;

/// The most bytes of a credential, far more than any token has.
const LARGEST: usize = 1 << 20;

/// The source of a credential.
pub enum Credential {
    /// A file, read anew at each login, because a kubelet or an agent replaces its content.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// The configuration: only for a role id, which is no credential.
    Written(String),
}

impl Credential {
    /// Reads the credential without the white space at its end: editors and `echo` add a line break, and no token ends with a
    /// space. `what` is the credential's name in an error, such as "token".
    pub fn read(&self, what: &str, context: &Context) -> Result<SecretValue, ProviderError> {
        self.read_trimmed(<[u8]>::trim_ascii_end, what, context)
    }

    /// Reads the credential as [`read`](Self::read) does, as text.
    pub fn text(&self, what: &str, context: &Context) -> Result<Zeroizing<String>, ProviderError> {
        utf8(&self.read(what, context)?, what)
    }

    /// Reads a password without a line break at its end. Spaces at the end are kept, as they may be part of the password.
    pub fn password(&self, context: &Context) -> Result<Zeroizing<String>, ProviderError> {
        let line_length = |bytes: &[u8]| {
            let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            line.strip_suffix(b"\r").unwrap_or(line).len()
        };
        let value = self.read_trimmed(|bytes| &bytes[..line_length(bytes)], "password", context)?;
        utf8(&value, "password")
    }

    fn read_trimmed(
        &self,
        trim: impl Fn(&[u8]) -> &[u8],
        what: &str,
        context: &Context,
    ) -> Result<SecretValue, ProviderError> {
        let missing = |message: String| ProviderError::new(ErrorKind::Denied, message);
        let (value, place) = match self {
            Credential::Written(text) => (text.as_bytes().to_vec(), "the configuration".to_owned()),
            Credential::Variable(name) => {
                let value = match context.environment.credential(name) {
                    Some(value) => value.expose().to_vec(),
                    None => match context.environment.variable(name) {
                        Some(value) => value.as_bytes().to_vec(),
                        None => return Err(missing(format!("cannot read the {what}: `{name}` is not set"))),
                    },
                };
                (value, format!("`{name}`"))
            }
            Credential::File(path) => {
                let value = context.files.read(path, None, LARGEST).map_err(|error| cannot_read(what, error))?;
                (value.expose().to_vec(), format!("`{}`", path.display()))
            }
        };
        let value = SecretValue::from(value);
        let text = trim(value.expose());
        if text.is_empty() {
            let error = missing(format!("cannot read the {what}: {place} is empty"));
            return Err(match self {
                Credential::File(_) => error.hint(WRITE_IT_BEFORE),
                _ => error,
            });
        }
        if text.iter().any(u8::is_ascii_control) {
            let message = format!("cannot use the {what}: {place} has a line break or a control character in it");
            return Err(missing(message).hint("it must be one line, the credential itself and nothing else"));
        }
        Ok(SecretValue::from(text.to_vec()))
    }
}

fn utf8(value: &SecretValue, what: &str) -> Result<Zeroizing<String>, ProviderError> {
    let text = std::str::from_utf8(value.expose());
    text.map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| ProviderError::new(ErrorKind::Denied, format!("cannot use the {what}: it is not UTF-8")))
}

const WRITE_IT_BEFORE: &str =
    "whatever writes it must have written it before this start: its pod's volumes, or an init container";

fn cannot_read(what: &str, error: ProviderError) -> ProviderError {
    let error = error.context(format!("cannot read the {what}"));
    let error = if error.kind == ErrorKind::NotFound { error.hint(WRITE_IT_BEFORE) } else { error };
    error.of_needed_file(ErrorKind::Denied)
}
