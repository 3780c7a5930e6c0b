//! A tmpfs of our own over an empty directory, in a mount namespace of our own, so that it ends with the app.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fstat};

use super::acceptance::Medium;
use super::failure::refusal;
use super::powers::Powers;
use super::{access_lists, entries, mounts};
use crate::error::{Result, reason};

/// The warning for a kernel, or a user namespace, that refuses `noswap`.
const WITHOUT_NOSWAP: &str = "this kernel mounts no tmpfs with `noswap`: the files can be swapped out where swap is on";
/// The warning for a kernel that takes `noswap` and may ignore it, as gVisor's does.
const UNSEEN_NOSWAP: &str =
    "`noswap` of handfast's own tmpfs does not read back: the files can be swapped out where swap is on";

/// Mounts the tmpfs and opens it. `identity` is the accepted directory: no other directory is covered.
pub fn mount_own(path: &Path, identity: (u64, u64), size: u64, powers: &Powers) -> Result<(OwnedFd, Medium)> {
    let failed = |step: &str, error: Errno| {
        refusal(format!("cannot {step} for `{}`: {}", path.display(), reason(error)))
            .hint("allow mount and unshare in the seccomp profile, or mount a tmpfs there from outside (`--tmpfs`)")
    };
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| failed("make a mount namespace", error))?;
    // A slave still gets later mounts of the outside, which gets none of ours.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|error| failed("make the mounts of our namespace slaves", error))?;
    // The descriptors from before belong to the old namespace, so the way is walked again and its end compared.
    let below = open_again(path).map_err(|error| failed("open the directory again", error))?;
    let found = fstat(&below).map_err(|error| failed("look at the directory again", error))?;
    let empty = entries::names(below.as_fd()).is_ok_and(|names| names.is_empty());
    if (found.st_dev, found.st_ino) != identity || !empty {
        return Err(refusal(format!(
            "cannot mount a tmpfs on `{}`: it has changed since it was checked",
            path.display()
        )));
    }
    let target = format!("/proc/self/fd/{}", below.as_raw_fd());
    // A size of 0 would mean no limit at all.
    let options = format!("size={},mode=0755", size.max(1));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let attempt = |options: &str| mount(Some("tmpfs"), target.as_str(), Some("tmpfs"), flags, Some(options));
    let asked = match attempt(&format!("{options},noswap")) {
        Ok(()) => Asked::WithNoswap,
        Err(Errno::EINVAL) => {
            attempt(&options).map_err(|error| failed("mount a tmpfs", error))?;
            Asked::Without
        }
        Err(error) => return Err(failed("mount a tmpfs", error)),
    };
    let above = open_again(path).map_err(|error| failed("open the new tmpfs", error))?;
    let made = fstat(&above).map_err(|error| failed("look at the new tmpfs", error))?;
    let mount = mounts::mount_of(above.as_fd())?;
    // The lists can be asked for on a descriptor that is more than a place.
    let readable =
        entries::open_directory(above.as_fd(), OsStr::new(".")).map_err(|error| failed("open the new tmpfs", error))?;
    access_lists::strip(readable.as_fd()).map_err(|error| failed("look at the new tmpfs", error))?;
    let ours = mount.id != mounts::mount_id(below.as_fd())?
        && mount.filesystem == "tmpfs"
        && made.st_uid == powers.uid
        && made.st_mode & 0o7777 == 0o755;
    if !ours {
        return Err(refusal(format!(
            "cannot use the tmpfs mounted on `{}`: it is not the one just made",
            path.display()
        )));
    }
    let (medium, warning) = made_as(asked, mount.no_swap);
    warning.into_iter().for_each(super::warn);
    Ok((above, medium))
}

/// The options that the kernel took.
#[derive(Clone, Copy)]
enum Asked {
    WithNoswap,
    Without,
}

/// The medium of our own tmpfs, by the options that read back, and the warning for it.
fn made_as(asked: Asked, shows_noswap: bool) -> (Medium, Option<&'static str>) {
    match (asked, shows_noswap) {
        (_, true) => (Medium::TmpfsWithoutSwap, None),
        (Asked::WithNoswap, false) => (Medium::Tmpfs, Some(UNSEEN_NOSWAP)),
        (Asked::Without, false) => (Medium::Tmpfs, Some(WITHOUT_NOSWAP)),
    }
}

/// Only the last component must not be a link; it is opened from its parent, since a trailing slash would follow one.
fn open_again(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent = open(path.parent().unwrap_or(path), flags, Mode::empty())?;
    openat(&parent, path.file_name().unwrap_or_default(), flags | OFlag::O_NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noswap_that_does_not_read_back_counts_as_none() {
        assert_eq!(made_as(Asked::WithNoswap, true), (Medium::TmpfsWithoutSwap, None));
        let unseen =
            "`noswap` of handfast's own tmpfs does not read back: the files can be swapped out where swap is on";
        assert_eq!(made_as(Asked::WithNoswap, false), (Medium::Tmpfs, Some(unseen)));
        assert_eq!(made_as(Asked::Without, false), (Medium::Tmpfs, Some(WITHOUT_NOSWAP)));
    }
}
