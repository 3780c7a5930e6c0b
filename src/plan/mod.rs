//! What will be done: a plan cannot hold an invalid state, and making it changes nothing.
#![forbid(unsafe_code)]

mod catalog;
mod environment;
mod instances;
mod isolation;
pub mod make;
mod secrets;
mod targets;

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use handfast_core::{SecretRef, Selection};

use crate::config::Suspect;
use crate::error::{Class, Error, Phase};
pub use instances::{Instance, Instances};

/// The app's variable that names its descriptors: `api-key:4,db-password:3`.
pub const DESCRIPTORS_VARIABLE: &str = "HANDFAST_FDS";

/// The app's variable that names the files directory, as systemd has it (systemd.exec(5), "Credentials").
pub const DIRECTORY_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Everything that a start will do.
pub struct Plan {
    /// What the start is for.
    pub purpose: Purpose,
    /// What the app may and may not do.
    pub isolation: Isolation,
    /// The secrets, in order of name.
    pub secrets: Vec<Secret>,
    /// The files directory, where there is one.
    pub files: Option<Files>,
    /// What a target that can be swapped out means.
    pub swap: Swap,
    /// How many requests may be in flight, per provider instance.
    pub concurrency: usize,
    /// When the whole start must be done.
    pub deadline: Deadline,
    /// The entries of the app's environment, without what depends on the secrets.
    pub environment: Vec<OsString>,
    /// What the provider instances say at each start.
    pub provider_warnings: Vec<String>,
    /// Who else may change the program that runs, with privileges: best effort, since it runs already.
    pub executable: Option<Suspect>,
}

/// What a start is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The process becomes the app.
    Run,
    /// The process delivers files for others, and ends.
    Init,
}

/// What the app may and may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// The app's uid: real, effective, saved and file system. Under `init` it only names the reader.
    pub uid: u32,
    /// The app's gid, likewise.
    pub gid: u32,
    /// The app's supplementary groups, sorted, each once.
    pub groups: Vec<u32>,
    /// Whether nobody chose the ids: started as root without a user, which one warning says.
    pub defaulted: bool,
    /// The capabilities that stay, in all five sets: a bit per number.
    pub capabilities: u64,
    /// Whether the app may dump core.
    pub core_dumps: bool,
    /// Whether what is best effort must succeed too.
    pub strict: bool,
}

/// One secret: what to fetch, where to put it, how the app finds it.
pub struct Secret {
    /// Its name.
    pub name: String,
    /// What to fetch.
    pub reference: SecretRef,
    /// The provider instance: [`Instance::index`].
    pub instance: usize,
    /// Where it goes.
    pub target: Target,
    /// Whether it may be missing.
    pub optional: bool,
    /// Whether its locator names several secrets (`kv/web/*`).
    pub is_list: bool,
    /// The app's variables that get its path (`/run/secrets/db` or `/dev/fd/3`).
    pub path_variables: Vec<String>,
    /// The app's variables that get its descriptor's number.
    pub number_variables: Vec<String>,
}

/// Where a secret goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A sealed memfd under this number.
    Descriptor(RawFd),
    /// Files in the files directory.
    File {
        /// The file's name; for `#*` a pattern, whose `*` is the field's name.
        name: String,
        /// Its mode.
        mode: u32,
        /// Its owner; the app's where `None`.
        owner: Option<(u32, u32)>,
    },
}

/// The files directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Its path: absolute.
    pub directory: PathBuf,
    /// The size of a mount of our own, in bytes.
    pub size: u64,
}

/// What a target that can be swapped out means.
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

impl Target {
    /// The name of the file for a field or a secret of a list, where the target is a file.
    pub fn file_name(&self, field: Option<&str>) -> Option<String> {
        match (self, field) {
            (Target::File { name, .. }, Some(field)) => Some(name.replacen('*', field, 1)),
            (Target::File { name, .. }, None) => Some(name.clone()),
            (Target::Descriptor(_), _) => None,
        }
    }
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

impl Secret {
    /// Whether it is several values, a file each: every field of a value (`#*`), or every secret of a list.
    pub fn is_several(&self) -> bool {
        self.is_list || self.reference.selection == Selection::Every
    }
}

/// Whether a name can be a file's in the files directory: one path component that needs no quoting anywhere.
pub fn valid_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits)
}

impl Plan {
    /// The app's PATH.
    pub fn path(&self) -> Option<&OsStr> {
        self.environment.iter().find_map(|entry| environment::value(entry, "PATH"))
    }

    /// Why a start with this plan ends before it does anything: best effort that `strict` does not take.
    pub fn refusal(&self) -> Option<Error> {
        let suspect = self.executable.as_ref().filter(|_| self.isolation.strict)?;
        Some(Error::new(Phase::Plan, Class::Isolation, executable(suspect)).hint(suspect.hint()))
    }

    /// What every start with this plan says once.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.provider_warnings.clone();
        if let Some(suspect) = self.executable.as_ref().filter(|_| !self.isolation.strict) {
            warnings.push(format!("{}: {}", executable(suspect), suspect.hint()));
        }
        if self.isolation.defaulted {
            let Isolation { uid, gid, .. } = self.isolation;
            let what = match self.purpose {
                Purpose::Run => "the app runs as",
                Purpose::Init => "the files belong to",
            };
            warnings.push(format!("started as root without `user`: {what} {uid}:{gid}"));
        }
        warnings
    }
}

fn executable(suspect: &Suspect) -> String {
    format!("handfast's own program {}", suspect.message())
}
