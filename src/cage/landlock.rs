//! The second layer: Landlock (landlock(7)). It forbids the worker to write or to execute any file.
#![forbid(unsafe_code)]

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};

/// The directories in which the worker may read no file: devices, which include other users' terminals, and kernel settings. No
/// provider reads there. `/dev/shm` is the exception: it may hold secrets.
const NOT_READ: [&str; 2] = ["/dev", "/sys"];
const READ_ALL_THE_SAME: &str = "/dev/shm";

/// Takes the rights to write and to execute files everywhere, and the right to read files except below the paths of `readable`.
/// Returns whether the kernel enforces any of this.
pub fn restrict() -> bool {
    let restrict = || {
        let handled = AccessFs::from_write(ABI::V5) | AccessFs::Execute | AccessFs::ReadFile;
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(handled)?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?
            .create()?;
        // A path that this process cannot open needs no rule: the worker cannot read it either.
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

/// The entries of the root directory whose files may be read, or the root directory itself if it cannot be listed. Symbolic links
/// are left out: their targets are either other entries, or must not be read.
fn readable() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/") else { return vec!["/".into()] };
    let is_link = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
    let paths = entries.flatten().filter(|entry| !is_link(entry)).map(|entry| entry.path());
    let read = paths.filter(|path| !NOT_READ.iter().any(|other| path == Path::new(other)));
    read.chain([READ_ALL_THE_SAME.into()]).collect()
}
