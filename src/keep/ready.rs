//! Whether a keeper lives, its files are there, and none is stale: asked from outside, with reading alone.
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

/// No status is longer.
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
    /// When it becomes stale, in seconds since the machine's start: a keeper that is stopped, or that has no room, cannot tell that it is.
    stale_at_boot: Option<u64>,
}

/// Looks until it is so, or the patience is over.
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

/// What is wrong, in words.
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

/// Opens what a keeper has to itself in the files directory, where it is the right one's.
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
    // Where all can write, all can make a directory of this name. These three can do as they like with the files anyway; and where
    // nobody here can write, nobody here has made it.
    let is_trusted = [0, around.st_uid, geteuid().as_raw()].contains(&status.st_uid);
    if is_trusted || fstatvfs(&private).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY)) {
        return Ok(private);
    }
    Err(format!("its `{PRIVATE}` is uid {}'s: neither root's, the directory's owner's nor the asker's", status.st_uid))
}

/// Opens for reading; waits for nobody, and follows no link.
fn open(private: &OwnedFd, name: &str) -> nix::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(private, name, flags, Mode::empty()).map(File::from)
}

/// Whether somebody has locked it for writing. A lock for reading, which everybody can take who can read it, is not asked about.
fn is_held(file: &File) -> io::Result<bool> {
    let mut lock =
        libc::flock { l_type: libc::F_RDLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    match fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)) {
        // As for the lock itself, which is then one of the older kind.
        Err(Errno::EINVAL) => fcntl(file, FcntlArg::F_GETLK(&mut lock)),
        asked => asked,
    }?;
    Ok(lock.l_type == libc::F_WRLCK as libc::c_short)
}
