//! Whether a keeper lives, its files are there, and none is stale. Called by another process than the keeper; only reads.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use handfast_core::excerpt;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::geteuid;
use serde::Deserialize;

use crate::deliver::{ALIVE, PRIVATE, STATUS};
use crate::error::{Class, Error, Phase, Result, reason};
use crate::sys::clock::boot_time;

/// How often to look again.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest status that is read.
const LONGEST: u64 = 8 << 20;

const NOBODY: &str = "no keeper was here";

#[derive(Deserialize)]
struct Status {
    secrets: Vec<Secret>,
}

#[derive(Deserialize)]
struct Secret {
    name: String,
    files: Vec<String>,
    stale: bool,
    /// When it becomes stale, in seconds since the machine's start: a keeper that is stopped, or has no room, cannot write a new status.
    stale_at_boot: Option<u64>,
}

/// Waits until the keeper is ready. Fails after `patience`.
pub fn wait(directory: &Path, patience: Duration) -> Result<()> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match look(directory) {
            Ok(()) => return Ok(()),
            Err(why) if left.is_zero() => {
                let message = format!("`{}` is not ready: {why}", directory.display());
                return Err(Error::new(Phase::Watch, Class::Unavailable, message));
            }
            Err(_) => std::thread::sleep(PAUSE.min(left)),
        }
    }
}

/// Fails with the reason why the keeper is not ready.
fn look(directory: &Path) -> std::result::Result<(), String> {
    let private = open_private(directory)?;
    let alive = match open(&private, ALIVE) {
        Err(Errno::ENOENT) => return Err(NOBODY.into()),
        opened => opened.map_err(|error| format!("cannot open `{ALIVE}` of its keeper: {}", reason(error)))?,
    };
    if !is_held(&alive).map_err(|error| format!("cannot look at the lock of its keeper: {}", reason(error)))? {
        return Err("its keeper is gone".into());
    }
    let mut text = Vec::new();
    let read = open(&private, STATUS).map_err(io::Error::from);
    let read = read.and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    read.map_err(|error| format!("cannot read `{STATUS}` of its keeper: {}", reason(error)))?;
    let status: Status =
        serde_json::from_slice(&text).map_err(|_| format!("`{STATUS}` of its keeper is not what a keeper writes"))?;
    let now = boot_time().as_secs();
    for Secret { name, files, stale, stale_at_boot } in status.secrets {
        let name = excerpt(&name);
        if stale || stale_at_boot.is_some_and(|end| end < now) {
            return Err(format!("`{name}` is stale"));
        }
        let is_missing = |file: &&String| !fs::metadata(directory.join(file)).is_ok_and(|file| file.is_file());
        if let Some(file) = files.iter().find(is_missing) {
            return Err(format!("the file `{}` of `{name}` is missing", excerpt(file)));
        }
    }
    Ok(())
}

/// Opens the keeper's private directory in the files directory, if it belongs to a trusted uid.
fn open_private(directory: &Path) -> std::result::Result<OwnedFd, String> {
    let cannot = |error| match error {
        Errno::ENOENT => NOBODY.to_owned(),
        error => format!("cannot open `{PRIVATE}` of its keeper: {}", reason(error)),
    };
    let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
    let files = nix::fcntl::open(directory, flags, Mode::empty()).map_err(cannot)?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let private = openat(&files, PRIVATE, flags, Mode::empty()).map_err(cannot)?;
    let (around, status) = (fstat(&files).map_err(cannot)?, fstat(&private).map_err(cannot)?);
    if status.st_mode & 0o022 != 0 {
        return Err(format!("others than a keeper can write its `{PRIVATE}`"));
    }
    // In a directory that all can write, every user can make a directory of this name. These three uids control the files anyway. On a
    // read-only mount, nobody in this container has made it.
    let is_trusted = [0, around.st_uid, geteuid().as_raw()].contains(&status.st_uid);
    if is_trusted || fstatvfs(&private).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY)) {
        return Ok(private);
    }
    Err(format!("its `{PRIVATE}` is uid {}'s: neither root's, the directory's owner's nor the asker's", status.st_uid))
}

/// Opens for reading, without waiting and following no link.
fn open(private: &OwnedFd, name: &str) -> nix::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(private, name, flags, Mode::empty()).map(File::from)
}

/// Whether another process has locked the file for writing. A lock for reading does not count: every process that can read the file can
/// take one.
fn is_held(file: &File) -> io::Result<bool> {
    let mut lock =
        libc::flock { l_type: libc::F_RDLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    match fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)) {
        // A kernel without these locks: the keeper's lock is then of the older kind too.
        Err(Errno::EINVAL) => fcntl(file, FcntlArg::F_GETLK(&mut lock)),
        asked => asked,
    }?;
    Ok(lock.l_type == libc::F_WRLCK as libc::c_short)
}
