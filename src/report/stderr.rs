//! Writes to stderr, and bounds the wait for its reader: by the deadline and by signals, or no wait at all.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{dup2_stderr, write as write_some};

use crate::sys::fs::kind;
use crate::sys::signals::{self, Signals};

/// How long to wait for a reader of the last lines of a failed start, and of each line that comes before the deadline is known.
const MOMENT: Duration = Duration::from_secs(1);

/// How often a wait for a reader checks for signals, in milliseconds: they are blocked, and interrupt no wait.
const LOOK: u8 = 20;

/// The most bytes that fit where poll(2) finds a pipe writable (pipe(7), `PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// What ends the wait for a reader.
#[derive(Clone, Copy)]
struct Bound {
    signals: Signals,
    /// `None`: a moment.
    until: Option<Instant>,
}

static BOUND: Mutex<Bound> = Mutex::new(Bound { signals: Signals::NONE, until: None });

/// How lines are written: see the constants.
static WAY: AtomicU8 = AtomicU8::new(WAITS);
/// The reader is waited for, within the bound.
const WAITS: u8 = 0;
/// A write does not wait: stderr is non-blocking, or a file.
const NEVER_WAITS: u8 = 1;
/// Lines are sent, as to a socket that is not waited for. To what is no socket this sends nothing.
const SENDS: u8 = 2;

/// From now on, one of these blocked signals ends the wait for a reader: the line is dropped, and the next stage handles the signal.
/// Otherwise a reader that has stopped would keep a start from ending.
pub fn wait_until_signal(signals: Signals) {
    bound(|bound| bound.signals = signals);
}

/// From now on, a line waits for its reader until the deadline of the start, and is dropped after it.
pub fn wait_until_deadline(until: Instant) {
    bound(|bound| bound.until = Some(until));
}

/// From now on, each line waits for a moment, even if the deadline is over: these are the last lines.
pub fn last_lines() {
    bound(|bound| *bound = Bound { signals: Signals::NONE, until: Some(Instant::now() + MOMENT) });
}

fn bound(change: impl FnOnce(&mut Bound)) -> Bound {
    let mut bound = BOUND.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut bound);
    *bound
}

/// From now on, a line that cannot be written at once is dropped: a process that waits for the reader of its log passes no signals on,
/// reaps no children and keeps no files fresh.
///
/// The app may have the same open file, whose flags stay as they are: a pipe or a terminal is opened once more, without waiting. Where
/// that is refused, nothing is written any more.
pub fn never_wait() {
    let stderr = std::io::stderr();
    if fstat(&stderr).is_ok_and(|status| kind(&status) == SFlag::S_IFREG) {
        WAY.store(NEVER_WAITS, Relaxed);
        return;
    }
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // A socket cannot be opened.
    let replaced = open("/proc/self/fd/2", flags, Mode::empty()).and_then(|again| dup2_stderr(&again));
    WAY.store(if replaced.is_ok() { NEVER_WAITS } else { SENDS }, Relaxed);
}

/// Restores the waits for a reader, in a child that becomes the app.
pub fn wait_again() {
    WAY.store(WAITS, Relaxed);
}

/// The worker's stderr is a pipe that does not wait, and its filter knows no more than a write.
pub fn written_at_once() {
    WAY.store(NEVER_WAITS, Relaxed);
}

/// Writes a line with one call if it is no longer than a page, so that lines of two processes do not mix. If stderr cannot be
/// written, there is no other place for the error. Allocates nothing.
pub fn write(line: &[u8]) {
    let stderr = std::io::stderr();
    let way = WAY.load(Relaxed);
    if way == SENDS {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        return drop(send(stderr.as_raw_fd(), line, flags).map_err(std::io::Error::from));
    }
    let mut rest = line;
    while !rest.is_empty() {
        if way == WAITS && !is_awaited() {
            return;
        }
        match write_some(&stderr, &rest[..rest.len().min(AT_ONCE)]) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            // Others who have the same open file may have made it non-blocking.
            Err(Errno::EAGAIN) if way == WAITS => {}
            Err(_) => return,
        }
    }
}

/// Waits until stderr takes a page, without ever waiting in a write: the open file, which others have too, stays blocking. `false`
/// where the time is over.
fn is_awaited() -> bool {
    let Bound { signals, until } = bound(|_| {});
    let until = until.unwrap_or_else(|| Instant::now() + MOMENT);
    let stderr = std::io::stderr();
    loop {
        let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut ready, PollTimeout::from(LOOK)) {
            // What cannot be waited for is written to, which fails or waits as it always has.
            Err(error) if error != Errno::EINTR => return true,
            Ok(count) if count > 0 => return true,
            _ => {}
        }
        // Where the signals cannot be asked for, the time alone ends the wait.
        let signalled = signals::pending(signals).is_ok_and(|signal| signal.is_some());
        if signalled || Instant::now() >= until {
            return false;
        }
    }
}
