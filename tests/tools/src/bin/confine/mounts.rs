//! A private mount namespace and its mounts.

use std::fs;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::Step;
use crate::options::{Mount, Options};

/// Creates the namespace and all mounts, if any are requested.
pub fn all(options: &Options) -> Result<(), String> {
    if !options.mount_namespace && options.mounts.is_empty() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).step("--mountns")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).step("--mountns")?;
    options.mounts.iter().try_for_each(one)
}

fn one(wanted: &Mount) -> Result<(), String> {
    match wanted {
        Mount::Tmpfs { path, options } => {
            fs::create_dir_all(path).step(&format!("--tmpfs {path}"))?;
            let (flags, data) = flags(options);
            mount(Some("tmpfs"), path.as_str(), Some("tmpfs"), flags, Some(data.as_str()))
                .step(&format!("--tmpfs {path}:{options}"))
        }
        Mount::Bind { from, to, options } => {
            let what = format!("--bind {from}:{to}");
            let metadata = fs::metadata(from).step(&what)?;
            if metadata.is_dir() {
                fs::create_dir_all(to).step(&what)?;
            } else if fs::metadata(to).is_err() {
                fs::write(to, "").step(&what)?;
            }
            let none = None::<&str>;
            mount(Some(from.as_str()), to.as_str(), none, MsFlags::MS_BIND | MsFlags::MS_REC, none).step(&what)?;
            let (flags, _) = flags(options);
            if flags.is_empty() {
                return Ok(());
            }
            // A bind mount takes its flags only in a second step.
            mount(none, to.as_str(), none, flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT, none).step(&what)
        }
    }
}

/// Splits mount options into the flags of the mount and the options of the file system.
fn flags(options: &str) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for word in options.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            word => data.push(word),
        }
    }
    (flags, data.join(","))
}
