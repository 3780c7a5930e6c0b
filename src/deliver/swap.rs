//! Whether what is delivered can be swapped out to a disk.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Error;

/// Whether the kernel may swap out pages of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapping {
    /// There is no swap, or our control group may not use it.
    Off,
    /// It may.
    On,
}

/// Of the list of swap areas: far more than there can be.
const LIMIT: u64 = 1 << 20;

/// Reads it. What cannot be read counts as on where the machine has swap.
pub fn read() -> Swapping {
    let areas = match read_list() {
        Ok(areas) => areas,
        // A kernel without swap has no such file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Swapping::Off,
        Err(_) => return Swapping::On,
    };
    if !has_areas(&areas) {
        return Swapping::Off;
    }
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    judge(&group, |group| {
        let path = Path::new("/sys/fs/cgroup").join(group.strip_prefix("/").unwrap_or(group)).join("memory.swap.max");
        std::fs::read_to_string(path).ok()
    })
}

fn read_list() -> std::io::Result<String> {
    let mut text = String::with_capacity(1024);
    // Asked for no size, which the kernel does not know.
    File::open("/proc/swaps")?.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// The first line is the header.
fn has_areas(areas: &str) -> bool {
    areas.lines().skip(1).any(|line| !line.trim().is_empty())
}

/// The limit of every group from ours upwards holds, so one 0 is enough.
fn judge(groups: &str, limit: impl Fn(&Path) -> Option<String>) -> Swapping {
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::")) else { return Swapping::On };
    // A group that is outside of our namespace reads `/../…`, and nothing can be said about it.
    if own.split('/').any(|part| part == "..") {
        return Swapping::On;
    }
    let forbidden = Path::new(own).ancestors().any(|group| limit(group).is_some_and(|text| text.trim() == "0"));
    if forbidden { Swapping::Off } else { Swapping::On }
}

/// The warning for targets that can be swapped out.
pub fn warning(targets: &str) -> String {
    format!("{targets} can be swapped out to disk, and swap is on")
}

/// The refusal for the same.
pub fn refusal(targets: &str) -> Error {
    super::refusal(format!("cannot deliver: {targets} can be swapped out to disk, and swap is on")).hint(
        "use a tmpfs mounted with `noswap` (Linux 6.4) or a ramfs, turn swap off, or set `[files] swap = \"warn\"`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    #[test]
    fn without_areas_it_is_off() {
        assert!(!has_areas("") && !has_areas(HEADER) && has_areas(&format!("{HEADER}/swapfile file 1 0 -2\n")));
    }

    #[test]
    fn a_limit_of_zero_anywhere_above_turns_it_off() {
        let limit = |at: &'static str, value: &'static str| {
            move |group: &Path| (group == Path::new(at)).then(|| value.to_owned())
        };
        assert_eq!(judge("4:memory:/x\n0::/a/b\n", limit("/a/b", "0\n")), Swapping::Off);
        assert_eq!(judge("0::/a/b\n", limit("/a", "0\n")), Swapping::Off);
        assert_eq!(judge("0::/\n", limit("/", "0\n")), Swapping::Off);
        assert_eq!(judge("0::/a/b\n", |_| None), Swapping::On);
        assert_eq!(judge("0::/a/b\n", limit("/a", "max\n")), Swapping::On);
        assert_eq!(judge("0::/a/b\n", limit("/c", "0\n")), Swapping::On);
        assert_eq!(judge("0::/../x\n", limit("/", "0\n")), Swapping::On);
        assert_eq!(judge("4:memory:/x\n", limit("/x", "0\n")), Swapping::On);
    }

    #[test]
    fn the_texts_name_the_targets() {
        assert_eq!(warning("`/run/secrets`"), "`/run/secrets` can be swapped out to disk, and swap is on");
        let error = refusal("descriptor 3");
        assert_eq!(error.message, "cannot deliver: descriptor 3 can be swapped out to disk, and swap is on");
        assert_eq!(error.class.exit_code(), 73);
    }
}
