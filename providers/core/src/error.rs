//! The errors of a provider.

use std::fmt;
use std::time::Duration;

/// The kind of a failure. It alone decides the exit code, and whether handfast tries the fetch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store or the network does not respond at the moment (exit 69). Only this kind is tried again.
    Unavailable,
    /// No credential, a refused credential, or a credential without the right to read the secret (exit 77).
    Denied,
    /// The secret, version or field does not exist (exit 66).
    NotFound,
    /// The server could not prove its identity (exit 76).
    Untrusted,
    /// The answer does not follow the store's interface, or is too large (exit 65).
    Malformed,
    /// The operating system refused a call that does not concern the store (exit 71).
    Os,
}

/// A provider's failure: a kind, one sentence and perhaps a hint.
///
/// The texts say what was attempted, on what, and why it failed. They are built from names, addresses, status codes and
/// lengths, never from a response's body or a credential.
#[derive(Debug)]
pub struct ProviderError {
    /// The kind of the failure.
    pub kind: ErrorKind,
    /// The text: what was attempted, on what, and why it failed. Lower case, no full stop.
    pub message: String,
    /// How to fix the problem.
    pub hint: Option<String>,
    /// How long the store requires a client to wait before the next try (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// A failure without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, retry_after: None }
    }

    /// A copy of the failure, for another request that fails with it.
    pub fn once_more(&self) -> Self {
        Self { kind: self.kind, message: self.message.clone(), hint: self.hint.clone(), retry_after: self.retry_after }
    }

    /// Adds a hint: how to fix the problem.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the attempt before the message: `cannot read the token: …`.
    pub fn context(mut self, attempted: impl fmt::Display) -> Self {
        self.message = format!("{attempted}: {}", self.message);
        self
    }

    /// The failure to read a file that a request needs, such as a token file. Its kind is not `NotFound`, which would mean that
    /// the secret itself is missing. The secret may be optional.
    pub fn of_needed_file(self, kind: ErrorKind) -> Self {
        match self.kind {
            ErrorKind::NotFound | ErrorKind::Malformed => Self { kind, ..self },
            _ => self,
        }
    }

    /// Adds the time that the store requires a client to wait.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// The text of an operating system's error, which starts in lower case, unless its first word is an abbreviation such as `I/O`.
pub fn reason(error: nix::errno::Errno) -> String {
    let text = match error {
        // The system's text is "try again", which sounds like advice to the user, and need not help.
        nix::errno::Errno::EAGAIN => "resource temporarily unavailable",
        error => error.desc(),
    };
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
