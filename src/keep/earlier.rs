//! The set of an earlier keeper for the same secrets, with its status. It stays if a store does not answer at the start.
#![forbid(unsafe_code)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::deliver::{Destination, EarlierSet};
use crate::plan::{Plan, valid_name};
use crate::sys::clock::boot_time;
use crate::worker::EarlierValues;

/// The set of an earlier keeper for exactly this plan's secrets.
pub struct Earlier {
    secrets: Vec<SecretStatus>,
    set: EarlierSet,
}

impl Earlier {
    /// Finds the set, and the digests of its values. `None` if there is none, it is for other secrets, or one of them is stale by now.
    pub fn find(plan: &Plan) -> Option<(Self, EarlierValues)> {
        let mut earlier = EarlierValues::default();
        let mut secrets = Vec::new();
        let choose = |status: &[u8]| {
            secrets = read(plan, status)?;
            Some(files(&secrets))
        };
        let set = EarlierSet::find(plan, choose, |value| earlier.digests.of(value))?;
        earlier.values.resize_with(plan.secrets.len(), Default::default);
        for (secret, file, digest) in &set.files {
            let field = plan.field(*secret, file).map(str::to_owned);
            // No value has the digest of a file that could not be read: it counts as changed.
            earlier.values[*secret].insert(field, digest.unwrap_or_default());
        }
        earlier.times = secrets.iter().map(|entry| (entry.last_success(), entry.end())).collect();
        Some((Self { secrets, set }, earlier))
    }

    /// Whether the set can stay in this destination if a store does not answer.
    pub fn can_stay(&self, destination: &Destination) -> bool {
        self.set().is_some_and(|set| destination.could_adopt(set))
    }

    /// The set, unless one of its secrets is stale by now.
    pub fn set(&self) -> Option<&EarlierSet> {
        let is_stale = self.secrets.iter().any(SecretStatus::is_stale);
        (!is_stale).then_some(&self.set)
    }

    /// The status of a secret.
    pub fn status_of(&self, secret: usize) -> &SecretStatus {
        &self.secrets[secret]
    }
}

/// The status file of an earlier keeper.
#[derive(Deserialize)]
struct StatusFile {
    secrets: Vec<SecretStatus>,
}

/// The earlier keeper's status of a secret. Times are in seconds, since 1970 or since the machine's start.
#[derive(Deserialize)]
pub struct SecretStatus {
    name: String,
    from: String,
    files: Vec<String>,
    last_change: u64,
    last_success: u64,
    stale: bool,
    pub stale_at_boot: Option<u64>,
    end: Option<u64>,
}

/// As for the rest of the keeper, these times are since the machine's start.
impl SecretStatus {
    /// When it changed last.
    pub fn last_change(&self) -> Duration {
        since_boot(self.last_change)
    }

    /// When it was read last.
    pub fn last_success(&self) -> Duration {
        since_boot(self.last_success)
    }

    /// When it ends.
    pub fn end(&self) -> Option<Duration> {
        self.end.map(since_boot)
    }

    /// These times are comparable: a tmpfs does not outlive the machine's run, and this clock is never set.
    fn is_stale(&self) -> bool {
        self.stale || self.stale_at_boot.is_some_and(|end| end <= boot_time().as_secs())
    }
}

/// A time in seconds since 1970 as one since the machine's start.
fn since_boot(time: u64) -> Duration {
    let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (boot_time() + Duration::from_secs(time)).saturating_sub(day)
}

/// Reads the status file; `None` if it is for other secrets, or one of them is stale by now.
fn read(plan: &Plan, text: &[u8]) -> Option<Vec<SecretStatus>> {
    let StatusFile { secrets } = serde_json::from_slice(text).ok()?;
    let is_right = secrets.len() == plan.secrets.len()
        && plan.secrets.iter().zip(&secrets).enumerate().all(|(secret, (planned, entry))| {
            // An object without a field has no file.
            let is_there = planned.optional || planned.is_several() || !entry.files.is_empty();
            let is_same = entry.name == planned.name && entry.from == planned.reference.to_string();
            is_same && is_there && !entry.is_stale() && entry.files.iter().all(|file| is_planned(plan, secret, file))
        });
    is_right.then_some(secrets)
}

/// Whether a secret would get a file of this name now.
fn is_planned(plan: &Plan, secret: usize, file: &str) -> bool {
    let field = plan.field(secret, file);
    let is_right = field.is_some() == plan.secrets[secret].is_several();
    is_right && valid_name(file) && plan.file_name(secret, field).as_deref() == Some(file)
}

/// The names of the files, each with its secret.
fn files(secrets: &[SecretStatus]) -> Vec<(usize, String)> {
    let files = |(secret, entry): (usize, &SecretStatus)| {
        entry.files.iter().map(|file| (secret, file.clone())).collect::<Vec<_>>()
    };
    secrets.iter().enumerate().flat_map(files).collect()
}
