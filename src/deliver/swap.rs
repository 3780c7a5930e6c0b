//! Whether delivered secrets can be swapped out to a disk.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};
use crate::plan::Swap;

/// Whether the kernel may swap out pages of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapping {
    /// There is no swap, or our control group may not use it.
    Off,
    /// The kernel may swap.
    On,
    /// The list of swap areas cannot be read.
    Unknown,
}

/// Of the list of swap areas: far more than there can be.
const LIMIT: u64 = 1 << 20;

/// Where the kernel lists its swap areas.
const AREAS: &str = "/proc/swaps";
/// Every kernel has this file; a procfs that shows processes alone (`subset=pid`) does not.
const WHOLE: &str = "/proc/filesystems";

/// Reads whether the kernel may swap.
pub fn read() -> Swapping {
    let areas = match read_list() {
        Ok(areas) => has_areas(&areas),
        // A kernel without swap has no such file. Where others are missing too, that says nothing.
        Err(error) if error.kind() == ErrorKind::NotFound && Path::new(WHOLE).exists() => Some(false),
        Err(_) => None,
    };
    if areas == Some(false) {
        return Swapping::Off;
    }
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let forbidden = is_forbidden(&group, |group| {
        let path = Path::new("/sys/fs/cgroup").join(group.strip_prefix("/").unwrap_or(group)).join("memory.swap.max");
        std::fs::read_to_string(path).ok()
    });
    match areas {
        _ if forbidden => Swapping::Off,
        Some(_) => Swapping::On,
        None => Swapping::Unknown,
    }
}

fn read_list() -> std::io::Result<String> {
    let mut text = String::with_capacity(1024);
    // Asked for no size, which the kernel does not know.
    File::open(AREAS)?.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// The first line is the header: without it, as where the file is covered by an empty one, this is no list.
fn has_areas(areas: &str) -> Option<bool> {
    let mut lines = areas.lines();
    lines.next()?.starts_with("Filename").then(|| lines.any(|line| !line.trim().is_empty()))
}

/// Whether our control group may not swap: the limit of every group from ours upwards holds, so one 0 is enough.
fn is_forbidden(groups: &str, limit: impl Fn(&Path) -> Option<String>) -> bool {
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::")) else { return false };
    // A group that is outside of our namespace reads `/../…`, and nothing can be said about it.
    if own.split('/').any(|part| part == "..") {
        return false;
    }
    Path::new(own).ancestors().any(|group| limit(group).is_some_and(|text| text.trim() == "0"))
}

impl Swapping {
    /// The warning for targets that can be swapped out, if there is cause for one.
    pub fn warning(self, targets: &str) -> Option<String> {
        self.danger().map(|danger| format!("{targets} can be swapped out to disk, and {danger}"))
    }

    /// The refusal for the same.
    pub fn refusal(self, targets: &str) -> Option<Error> {
        self.warning(targets).map(|warning| {
            super::failure::refusal(format!("cannot deliver: {warning}")).hint(
                "use a tmpfs mounted with `noswap` (Linux 6.4) or a ramfs, turn swap off, or set `[files] swap = \"warn\"`",
            )
        })
    }

    fn danger(self) -> Option<String> {
        match self {
            Swapping::Off => None,
            Swapping::On => Some("swap is on".into()),
            Swapping::Unknown => Some(format!("swap cannot be ruled out: `{AREAS}` cannot be read")),
        }
    }
}

/// The warning, if there is cause for one, or the refusal.
pub fn judge(rule: Swap, swapping: Swapping, targets: &[String]) -> Result<Option<String>> {
    let list = targets.join(", ");
    match rule {
        _ if targets.is_empty() => Ok(None),
        Swap::Warn => Ok(swapping.warning(&list)),
        Swap::Refuse => swapping.refusal(&list).map_or(Ok(None), Err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    #[test]
    fn without_areas_it_is_off_and_without_a_list_unknown() {
        assert_eq!(has_areas(HEADER), Some(false));
        assert_eq!(has_areas(&format!("{HEADER}/swapfile file 1 0 -2\n")), Some(true));
        assert_eq!((has_areas(""), has_areas("\n"), has_areas("/swapfile file 1 0 -2\n")), (None, None, None));
    }

    #[test]
    fn a_limit_of_zero_anywhere_above_turns_it_off() {
        let limit = |at: &'static str, value: &'static str| {
            move |group: &Path| (group == Path::new(at)).then(|| value.to_owned())
        };
        assert!(is_forbidden("4:memory:/x\n0::/a/b\n", limit("/a/b", "0\n")));
        assert!(is_forbidden("0::/a/b\n", limit("/a", "0\n")));
        assert!(is_forbidden("0::/\n", limit("/", "0\n")));
        assert!(!is_forbidden("0::/a/b\n", |_| None));
        assert!(!is_forbidden("0::/a/b\n", limit("/a", "max\n")));
        assert!(!is_forbidden("0::/a/b\n", limit("/c", "0\n")));
        assert!(!is_forbidden("0::/../x\n", limit("/", "0\n")));
        assert!(!is_forbidden("4:memory:/x\n", limit("/x", "0\n")));
    }

    #[test]
    fn the_texts_name_the_targets_and_the_reason() {
        let warning = |swapping: Swapping| swapping.warning("`/run/secrets`");
        assert_eq!(warning(Swapping::Off), None);
        assert_eq!(warning(Swapping::On).unwrap(), "`/run/secrets` can be swapped out to disk, and swap is on");
        assert_eq!(
            warning(Swapping::Unknown).unwrap(),
            "`/run/secrets` can be swapped out to disk, and swap cannot be ruled out: `/proc/swaps` cannot be read"
        );
        let error = Swapping::On.refusal("descriptor 3").unwrap();
        assert_eq!(error.message, "cannot deliver: descriptor 3 can be swapped out to disk, and swap is on");
        assert_eq!(error.class.exit_code(), 73);
    }
}
