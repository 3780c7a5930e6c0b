//! The open descriptors, each with everything that an app could do with it. Reading them changes no offset.

use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use serde_json::{Value, json};

use crate::tree::hex;

/// The largest part of a file that a report holds.
pub const MOST: u64 = 2 << 20;

/// One entry for each open descriptor, in order. The probe's own descriptors are closed before the entries are examined.
pub fn all() -> Vec<Value> {
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let mut numbers: Vec<RawFd> = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.filter_map(name).collect(),
        // Without /proc, or with a full descriptor table, try all numbers up to a usual limit.
        Err(_) => (0..4096).collect(),
    };
    numbers.sort_unstable();
    numbers.into_iter().filter(|number| fcntl(*number, libc::F_GETFD) >= 0).map(one).collect()
}

fn one(number: RawFd) -> Value {
    // SAFETY: the descriptor is open, and `ManuallyDrop` keeps it open.
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
        // Write no bytes, so that a pipe's reader is not disturbed. A descriptor that is not writable fails all the same.
        "write": if regular { outcome(write_at_end(&file)) } else { Value::Null },
    })
}

fn fcntl(number: RawFd, operation: libc::c_int) -> i32 {
    // SAFETY: the operations used here take no pointer; on a closed descriptor they only fail.
    unsafe { libc::fcntl(number, operation) }
}

fn offset(number: RawFd) -> Option<i64> {
    // SAFETY: takes no pointer, and does not change the offset.
    let offset = unsafe { libc::lseek(number, 0, libc::SEEK_CUR) };
    (offset >= 0).then_some(offset)
}

fn content(file: &File) -> Option<String> {
    let size = file.metadata().ok()?.len().min(MOST);
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut bytes, 0).ok().map(|()| hex(&bytes))
}

/// Opens the descriptor again, as an app does with `/dev/fd/N`: `ok`, or the error's name.
fn open(number: RawFd, access: libc::c_int) -> Value {
    let write = access == libc::O_RDWR;
    let mut options = fs::OpenOptions::new();
    // Without O_NONBLOCK, a pipe without a writer would block; without O_NOCTTY, a terminal would become the controlling
    // terminal.
    options.read(true).write(write).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    outcome(options.open(format!("/dev/fd/{number}")).map(drop))
}

/// Writes a zero byte behind the end of the file. A sealed or read-only file refuses this.
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
