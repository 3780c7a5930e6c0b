//! Whether a keeper lives, its files are there, and none is stale: asked from outside, with reading alone.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use handfast_core::excerpt;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use serde::Deserialize;

use crate::deliver::{ALIVE, PRIVATE, STATUS};
use crate::error::{Class, Error, Phase, Result, reason};
use crate::sys::clock::boot_time;

/// How often to look again.
const PAUSE: Duration = Duration::from_millis(50);

/// No status is longer.
const LONGEST: u64 = 8 << 20;

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
    let private = directory.join(PRIVATE);
    let alive = match open(&private.join(ALIVE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err("no keeper was here".into()),
        opened => opened.map_err(|error| format!("cannot open `{ALIVE}` of its keeper: {}", reason(error)))?,
    };
    if !is_held(&alive).map_err(|error| format!("cannot look at the lock of its keeper: {}", reason(error)))? {
        return Err("its keeper is gone".into());
    }
    let mut text = Vec::new();
    let read = open(&private.join(STATUS)).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
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

/// Opens for reading; waits for nobody, and follows no link.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)
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
