//! Writes to stderr; in a process that lives on, without ever waiting for a reader.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::fcntl::{OFlag, open};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::dup2_stderr;

/// Whether lines are sent, as to a socket that is not waited for. To what is no socket this sends nothing.
static SENDS: AtomicBool = AtomicBool::new(false);

/// From now on a line that cannot be written at once is dropped. A process that waited for the reader of its log would neither pass
/// signals on nor reap, nor keep files fresh.
///
/// The app may have the same open file, whose flags stay as they are: a pipe or a terminal is opened once more, without waiting. Where
/// that is refused, nothing is written any more.
pub fn never_wait() {
    let stderr = std::io::stderr();
    let kind = fstat(&stderr).map(|status| SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()));
    if kind == Ok(SFlag::S_IFREG) {
        return;
    }
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // A socket cannot be opened.
    let replaced = open("/proc/self/fd/2", flags, Mode::empty()).and_then(|again| dup2_stderr(&again));
    SENDS.store(replaced.is_err(), Relaxed);
}

/// Writes a line with one call, so that lines of two processes do not mix. If stderr cannot be written, there is no other place for
/// the error.
pub fn write(line: &[u8]) {
    let stderr = std::io::stderr();
    let written = match SENDS.load(Relaxed) {
        true => send(stderr.as_raw_fd(), line, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).map_err(Into::into),
        false => stderr.lock().write_all(line).map(|()| line.len()),
    };
    drop(written);
}
