//! The open descriptors, each with all that an app could do with it. Reading them changes no offset.

use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use serde_json::{Value, json};

use crate::tree::hex;

/// As much of a file as a report holds.
pub const MOST: u64 = 2 << 20;

/// One entry per open descriptor, in order. Those of the probe itself are closed by the time that each is looked at.
pub fn all() -> Vec<Value> {
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let mut numbers: Vec<RawFd> = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.filter_map(name).collect(),
        // Without /proc, or with a table that is full: as many as fit a usual limit.
        Err(_) => (0..4096).collect(),
    };
    numbers.sort_unstable();
    numbers.into_iter().filter(|number| fcntl(*number, libc::F_GETFD) >= 0).map(one).collect()
}

fn one(number: RawFd) -> Value {
    // SAFETY: the descriptor is open, and `ManuallyDrop` leaves it so.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
    let flags = fcntl(number, libc::F_GETFL);
    let metadata = file.metadata().ok();
    let regular = metadata.as_ref().is_some_and(fs::Metadata::is_file);
    let link = fs::read_link(format!("/proc/self/fd/{number}")).map(|link| link.to_string_lossy().into_owned());
    json!({
        "fd": number,
        "link": link.ok(),
        "flags": flags,
        "access": match flags & libc::O_ACCMODE { libc::O_RDONLY => "r", libc::O_WRONLY => "w", _ => "rw" },
        "cloexec": fcntl(number, libc::F_GETFD) & libc::FD_CLOEXEC != 0,
        "mode": metadata.as_ref().map(|metadata| format!("{:o}", metadata.mode())),
        "uid": metadata.as_ref().map(MetadataExt::uid),
        "gid": metadata.as_ref().map(MetadataExt::gid),
        "size": metadata.as_ref().map(MetadataExt::size),
        "filesystem": nix::sys::statfs::fstatfs(&*file).ok().map(|buffer| format!("{:x}", buffer.filesystem_type().0)),
        "offset": offset(number),
        "seals": Some(fcntl(number, libc::F_GET_SEALS)).filter(|seals| *seals >= 0),
        "content": if regular { content(&file) } else { None },
        "open_read": open(number, libc::O_RDONLY),
        "open_write": open(number, libc::O_RDWR),
        // Nothing is written, so that a pipe's reader is not disturbed; files that can't be written say so all the same.
        "write": if regular { outcome(write_at_end(&file)) } else { Value::Null },
    })
}

fn fcntl(number: RawFd, operation: libc::c_int) -> i32 {
    // SAFETY: the operations used here take no pointer; a closed descriptor is an error, no hazard.
    unsafe { libc::fcntl(number, operation) }
}

fn offset(number: RawFd) -> Option<i64> {
    // SAFETY: takes no pointer, and moves nothing.
    let offset = unsafe { libc::lseek(number, 0, libc::SEEK_CUR) };
    (offset >= 0).then_some(offset)
}

fn content(file: &File) -> Option<String> {
    let size = file.metadata().ok()?.len().min(MOST);
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut bytes, 0).ok().map(|()| hex(&bytes))
}

/// Opening it once more, as an app does with `/dev/fd/N`: `ok`, or the error's name.
fn open(number: RawFd, access: libc::c_int) -> Value {
    let write = access == libc::O_RDWR;
    let mut options = fs::OpenOptions::new();
    // Nonblocking, or a pipe without a writer would keep us; O_NOCTTY, or a terminal would become ours.
    options.read(true).write(write).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    outcome(options.open(format!("/dev/fd/{number}")).map(drop))
}

/// A zero byte behind the end of the file, which a sealed or read-only one refuses.
fn write_at_end(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.write_at(&[0], length)?;
    file.set_len(length)
}

/// `ok`, or the name of the error.
pub fn outcome(result: io::Result<()>) -> Value {
    match result {
        Ok(()) => json!("ok"),
        Err(error) => {
            json!(
                error
                    .raw_os_error()
                    .map_or_else(|| error.to_string(), |code| format!("{:?}", nix::errno::Errno::from_raw(code)))
            )
        }
    }
}
