//! Why a provider could not give a secret.

use std::fmt;
use std::time::Duration;

/// What kind of failure it was. The kind alone decides the exit code and whether it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store, or the way to it, does not answer for now (exit 69). The only kind that is tried again.
    Unavailable,
    /// No credential, a refused one, or one that may not read this (exit 77).
    Denied,
    /// There is no such secret, version or field (exit 66).
    NotFound,
    /// The other side could not prove who it is (exit 76).
    Untrusted,
    /// The answer is not what the store's interface promises, or too large (exit 65).
    Malformed,
    /// The operating system refused something that has nothing to do with the store (exit 71).
    Os,
}

/// A provider's failure: a kind, one sentence and perhaps a hint.
///
/// The texts say what was attempted, on what, and why it failed. They are built from names, addresses, status codes and
/// lengths, never from a response's body or a credential.
#[derive(Debug)]
pub struct ProviderError {
    /// What kind of failure it was.
    pub kind: ErrorKind,
    /// What was attempted, on what, why it failed: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// How long the store asks to wait before the next try (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// A failure without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, retry_after: None }
    }

    /// The same failure for somebody else who meets it too.
    pub fn once_more(&self) -> Self {
        Self { kind: self.kind, message: self.message.clone(), hint: self.hint.clone(), retry_after: self.retry_after }
    }

    /// The same with a hint: what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with what was attempted, before the message: `cannot read the token: …`.
    pub fn context(mut self, attempted: impl fmt::Display) -> Self {
        self.message = format!("{attempted}: {}", self.message);
        self
    }

    /// The same with the wait that the store asked for.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// An operating system error's text in our form: it starts with a lower case letter, unless that would spoil a word.
pub fn reason(error: nix::errno::Errno) -> String {
    let text = error.desc();
    match text.split_at_checked(1) {
        Some((first, rest)) if rest.starts_with(|next: char| next.is_lowercase()) => first.to_lowercase() + rest,
        _ => text.to_owned(),
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProviderError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_starts_in_lower_case() {
        assert_eq!(reason(nix::errno::Errno::EPERM), "operation not permitted");
        assert_eq!(reason(nix::errno::Errno::EIO), "I/O error");
    }
}
