//! The contents of a plan.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::delivery::{Delivery, Target};
use super::isolation::Isolation;
use super::secret::Secret;
use super::watching::{OnChange, Watching};
use crate::config::Suspect;
use crate::error::{Class, Error, Phase};

/// Everything that a start will do.
pub struct Plan {
    /// The purpose of the start.
    pub purpose: Purpose,
    /// What the app may and may not do.
    pub isolation: Isolation,
    /// The secrets to fetch, in order of name.
    pub secrets: Vec<Secret>,
    /// Where the secrets go, in order of name.
    pub deliveries: Vec<Delivery>,
    /// The descriptors from 3 up that the app gets as they were found, sorted, each once.
    pub inherited: Vec<RawFd>,
    /// The files directory, where there is one.
    pub files: Option<Files>,
    /// The consequence of a target that can be swapped out.
    pub swap: Swap,
    /// How many requests may be in flight, per provider instance.
    pub concurrency: usize,
    /// When the whole start must be done.
    pub deadline: Deadline,
    /// How the secrets are kept fresh, for a command that does.
    pub watching: Watching,
    /// The entries of the app's environment, without what depends on the secrets.
    pub environment: Vec<OsString>,
    /// Whether issued credentials are revoked at the end of a process that lives on.
    pub revokes_on_exit: bool,
    /// Whether a provider talks to a store: then the worker stays until it knows whether its secrets were delivered.
    pub has_stores: bool,
    /// The warnings of the provider instances at each start.
    pub provider_warnings: Vec<String>,
    /// Who else may change the program that runs, with privileges: best effort, since it runs already.
    pub executable: Option<Suspect>,
}

/// The purpose of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The process becomes the app.
    Run,
    /// The process starts the app, and stays as long as it runs.
    Supervise,
    /// The process delivers files for others, and ends.
    Init,
    /// The process delivers files for others, and keeps them fresh.
    Watch,
}

impl Purpose {
    /// The command.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Run => "run",
            Purpose::Supervise => "run --supervise",
            Purpose::Init => "init",
            Purpose::Watch => "watch",
        }
    }

    /// Whether handfast starts the app itself.
    pub fn has_app(self) -> bool {
        matches!(self, Self::Run | Self::Supervise)
    }
}

/// The files directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Its path: absolute.
    pub directory: PathBuf,
    /// The size of a mount of our own, in bytes.
    pub size: u64,
}

/// The consequence of a target that can be swapped out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// A warning at each start.
    Warn,
    /// No start: 73.
    Refuse,
}

/// When the whole start must be done.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// When the process started.
    pub started: Instant,
    /// How long the whole start may take.
    pub limit: Duration,
}

impl Deadline {
    /// The moment itself.
    pub fn at(&self) -> Instant {
        self.started + self.limit
    }

    /// How long the start has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Plan {
    /// The name of the file that a secret goes into, or one of its values by the name of its field.
    pub fn file_name(&self, secret: usize, field: Option<&str>) -> Option<String> {
        self.deliveries.iter().find(|delivery| delivery.secret == secret)?.target.file_name(field)
    }

    /// The name of the field whose value is in this file of a secret; `None` for a secret with one value.
    pub fn field<'f>(&self, secret: usize, file: &'f str) -> Option<&'f str> {
        self.deliveries.iter().find(|delivery| delivery.secret == secret)?.target.field(file)
    }

    /// Whether a secret is a file.
    pub fn has_files(&self) -> bool {
        self.deliveries.iter().any(|delivery| matches!(delivery.target, Target::File { .. }))
    }

    /// Whether a worker lives on, because it reads secrets again.
    pub fn keeps_fresh(&self) -> bool {
        match self.purpose {
            Purpose::Watch => true,
            // Metrics are served as long as the app runs, even if no secret can change.
            Purpose::Supervise => {
                self.watching.metrics.is_some() || self.secrets.iter().any(|secret| secret.refresh.is_some())
            }
            Purpose::Run | Purpose::Init => false,
        }
    }

    /// Whether a worker may live on: to read secrets again, or only to renew the leases of secrets that the app never gets anew.
    pub fn may_keep_worker(&self) -> bool {
        self.keeps_fresh() || self.purpose == Purpose::Supervise && self.has_stores
    }

    /// Whether a change may restart the app.
    pub fn may_restart(&self) -> bool {
        let restarts = |secret: &Secret| secret.refresh.is_some() && secret.on_change == OnChange::Restart;
        self.purpose == Purpose::Supervise && self.secrets.iter().any(restarts)
    }

    /// Which of these secrets ask for a post: one for each endpoint.
    pub fn posts(&self, secrets: &[usize]) -> Vec<usize> {
        let mut posts: Vec<usize> = Vec::new();
        for secret in secrets {
            let action = &self.secrets[*secret].on_change;
            let is_new = posts.iter().all(|other| self.secrets[*other].on_change != *action);
            if matches!(action, OnChange::Post(_)) && is_new {
                posts.push(*secret);
            }
        }
        posts
    }

    /// Why a start with this plan ends before it does anything: best effort that `strict` does not take.
    pub fn refusal(&self) -> Option<Error> {
        let suspect = self.executable.as_ref().filter(|_| self.isolation.strict)?;
        Some(Error::new(Phase::Plan, Class::Isolation, executable(suspect)).hint(suspect.hint()))
    }

    /// The warnings of every start with this plan.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.provider_warnings.clone();
        if let Some(suspect) = self.executable.as_ref().filter(|_| !self.isolation.strict) {
            warnings.push(format!("{}: {}", executable(suspect), suspect.hint()));
        }
        if self.isolation.defaulted {
            let Isolation { uid, gid, .. } = self.isolation;
            let what = match self.purpose {
                Purpose::Run | Purpose::Supervise => "the app runs as",
                Purpose::Init | Purpose::Watch => "the files belong to",
            };
            warnings.push(format!("started as root without `user`: {what} {uid}:{gid}"));
        }
        warnings
    }
}

fn executable(suspect: &Suspect) -> String {
    format!("handfast's own program {}", suspect.message())
}
