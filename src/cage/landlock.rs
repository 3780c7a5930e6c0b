//! The second layer: Landlock (landlock(7)), which denies the worker every writing and executing of files.
#![forbid(unsafe_code)]

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};

/// Where no file is read: devices, the terminals of others among them, and the machine's settings. No provider reads there, but
/// secrets may be in `/dev/shm`.
const NOT_READ: [&str; 2] = ["/dev", "/sys"];
const READ_ALL_THE_SAME: &str = "/dev/shm";

/// Handles every right to write and to execute, and allows none of them anywhere; and the right to read, which stays elsewhere.
pub fn restrict() -> bool {
    let restrict = || {
        let handled = AccessFs::from_write(ABI::V5) | AccessFs::Execute | AccessFs::ReadFile;
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(handled)?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?
            .create()?;
        // What cannot be opened here cannot be read either.
        for place in readable().iter().filter_map(|path| PathFd::new(path).ok()) {
            ruleset = ruleset.add_rule(PathBeneath::new(place, AccessFs::ReadFile))?;
        }
        ruleset.restrict_self()
    };
    let restricted: std::result::Result<_, RulesetError> = restrict();
    match restricted {
        Ok(status) => status.ruleset != RulesetStatus::NotEnforced,
        Err(error) => {
            handfast_core::debug!("the worker's Landlock rules: {error}");
            false
        }
    }
}

/// Each entry of the root directory whose files may be read, or the root directory if it cannot be listed. Links are left out: their
/// targets are other entries, or must not be read.
fn readable() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/") else { return vec!["/".into()] };
    let is_link = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
    let paths = entries.flatten().filter(|entry| !is_link(entry)).map(|entry| entry.path());
    let read = paths.filter(|path| !NOT_READ.iter().any(|other| path == Path::new(other)));
    read.chain([READ_ALL_THE_SAME.into()]).collect()
}
