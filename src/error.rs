//! Why handfast did not start the app: one type for every stage, and the exit codes.
//!
//! The texts follow one form: lower case, no full stop, what was attempted, on what, why; a hint says how to fix the problem.
#![forbid(unsafe_code)]

use std::fmt;

use handfast_core::ErrorKind;

/// The class of a failure. The JSON line contains it, and the exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The arguments could not be parsed (64, `EX_USAGE`).
    Usage,
    /// A provider's answer, or the selected part of it, is malformed (65, `EX_DATAERR`).
    Malformed,
    /// A secret or a field does not exist (66, `EX_NOINPUT`).
    NotFound,
    /// A provider did not answer before the deadline (69, `EX_UNAVAILABLE`).
    Unavailable,
    /// A bug in handfast (70, `EX_SOFTWARE`).
    Internal,
    /// The operating system lacks a resource, such as memory or descriptors (71, `EX_OSERR`).
    Os,
    /// The secrets cannot be delivered (73, `EX_CANTCREAT`).
    Deliver,
    /// A server could not prove who it is (76, `EX_PROTOCOL`).
    Untrusted,
    /// Not authenticated, or not allowed (77, `EX_NOPERM`).
    Denied,
    /// The configuration is wrong (78, `EX_CONFIG`).
    Config,
    /// A secret of `watch` has changed, and its change asks for a restart (79).
    Changed,
    /// The app would be less isolated than the configuration requires (125).
    Isolation,
    /// The command exists and cannot be executed (126).
    NotExecutable,
    /// The command does not exist (127).
    CommandNotFound,
    /// A signal ended the start (128 + its number).
    Signal(u8),
}

/// The stage in which a failure happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Phase {
    Arguments,
    Config,
    Plan,
    Fetch,
    Deliver,
    Lockdown,
    Launch,
    Watch,
    Install,
}

/// The secret that a failure is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The provider instance.
    pub provider: String,
    /// The reference, after interpolation.
    pub reference: String,
    /// How often the fetch was tried.
    pub attempts: u32,
    /// Why it failed, without the secret's name: the end of the message.
    pub reason: String,
}

/// A failure that ends the start.
#[derive(Clone, Debug)]
pub struct Error {
    /// The class.
    pub class: Class,
    /// The stage.
    pub phase: Phase,
    /// The text: what was attempted, on what, and why it failed.
    pub message: String,
    /// How to fix the problem.
    pub hint: Option<String>,
    /// The secret that the failure is about.
    pub subject: Option<Subject>,
    /// The single failures, if this failure sums up several.
    pub parts: Vec<Error>,
}

/// The result of a stage.
pub type Result<T> = std::result::Result<T, Error>;

impl Class {
    /// The exit code, as documented in `docs/exit-codes.md`.
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Usage => 64,
            Class::Malformed => 65,
            Class::NotFound => 66,
            Class::Unavailable => 69,
            Class::Internal => 70,
            Class::Os => 71,
            Class::Deliver => 73,
            Class::Untrusted => 76,
            Class::Denied => 77,
            Class::Config => 78,
            Class::Changed => 79,
            Class::Isolation => 125,
            Class::NotExecutable => 126,
            Class::CommandNotFound => 127,
            Class::Signal(number) => 128 + number,
        }
    }

    /// Its name in the JSON line.
    pub fn name(self) -> &'static str {
        match self {
            Class::Usage => "usage",
            Class::Malformed => "malformed",
            Class::NotFound => "not-found",
            Class::Unavailable => "unavailable",
            Class::Internal => "internal",
            Class::Os => "os",
            Class::Deliver => "deliver",
            Class::Untrusted => "untrusted",
            Class::Denied => "denied",
            Class::Config => "config",
            Class::Changed => "changed",
            Class::Isolation => "isolation",
            Class::NotExecutable | Class::CommandNotFound => "exec",
            Class::Signal(_) => "signal",
        }
    }
}

impl From<ErrorKind> for Class {
    /// The class of a provider's error.
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Denied => Class::Denied,
            ErrorKind::NotFound => Class::NotFound,
            ErrorKind::Untrusted => Class::Untrusted,
            ErrorKind::Os => Class::Os,
            ErrorKind::Unavailable => Class::Unavailable,
            _ => Class::Malformed,
        }
    }
}

impl Phase {
    /// Its name in the JSON line.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Arguments => "arguments",
            Phase::Config => "config",
            Phase::Plan => "plan",
            Phase::Fetch => "fetch",
            Phase::Deliver => "deliver",
            Phase::Lockdown => "lockdown",
            Phase::Launch => "launch",
            Phase::Watch => "watch",
            Phase::Install => "install",
        }
    }

    /// The failure of a step of this stage for which the operating system lacks something.
    pub fn cannot(self, step: &str, error: impl Into<std::io::Error>) -> Error {
        Error::new(self, Class::Os, format!("cannot {step}: {}", reason(error)))
    }

    /// The same for a fork, with a hint if a limit on processes forbids it.
    pub fn cannot_fork(self, step: &str, error: std::io::Error) -> Error {
        let is_limit = error.raw_os_error() == Some(libc::EAGAIN);
        let failed = self.cannot(step, error);
        if is_limit { failed.hint(PROCESS_LIMIT) } else { failed }
    }
}

const PROCESS_LIMIT: &str = "raise the limit on processes (Docker: `--pids-limit`; Kubernetes: `podPidsLimit` of the kubelet; \
                             `ulimit -u`): a start needs two, `run --supervise` three, and a few threads";

impl Error {
    /// A failure without a hint.
    pub fn new(phase: Phase, class: Class, message: impl Into<String>) -> Self {
        Self { class, phase, message: message.into(), hint: None, subject: None, parts: Vec::new() }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the secret that the failure is about.
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
        self
    }

    /// Adds the failures that this one sums up.
    pub fn parts(mut self, parts: Vec<Error>) -> Self {
        self.parts = parts;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The text of an operating system's error in handfast's form: lower case, without the number.
pub fn reason(error: impl Into<std::io::Error>) -> String {
    let error = error.into();
    match error.raw_os_error() {
        Some(number) => handfast_core::reason(nix::errno::Errno::from_raw(number)),
        None => error.to_string(),
    }
}
