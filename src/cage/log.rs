//! The worker's log, on the privileged side: reads lines from a pipe and prints them as handfast's log lines.
//!
//! The worker writes to a pipe and not to handfast's stderr, because the app inherits stderr. A worker that held stderr could
//! change its settings for the app, or forge log lines.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};

use crate::report;

/// The longest line, in bytes. A longer line is cut.
const MAX_LINE: usize = 8 << 10;

/// The limit for all lines of one worker in an hour together, in bytes. Lines after it are not printed.
const MAX_LOG: usize = 1 << 20;
const HOUR: Duration = Duration::from_secs(3600);

/// The read end of the log's pipe, and the state of reading.
pub struct Log {
    /// The read end; `None` once the worker has closed the write end.
    pipe: Option<OwnedFd>,
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
    /// How many bytes may still be printed in this hour, and when it began.
    left: usize,
    since: Instant,
}

impl Log {
    /// A log, and the write end of its pipe, which is for the worker. Both ends are non-blocking.
    pub fn new() -> nix::Result<(Self, OwnedFd)> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok((Self { pipe: Some(ours), line: Vec::new(), left: MAX_LOG, since: Instant::now() }, theirs))
    }

    /// The descriptor to poll, until the worker has closed its end.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Prints the lines that have arrived, without waiting. Reads a bounded number of times, so that a worker that writes without
    /// pause cannot keep it here.
    pub fn copy(&mut self) {
        const AT_A_TIME: usize = 16;
        let mut buffer = [0; 4096];
        for _ in 0..AT_A_TIME {
            let Some(pipe) = &self.pipe else { return };
            match read(pipe, &mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => self.take(&buffer[..length], report::relayed),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // The pipe cannot be read any more. That ends the log and not the start.
                Err(_) => self.pipe = None,
            }
        }
    }

    fn take(&mut self, bytes: &[u8], mut print: impl FnMut(&[u8])) {
        if self.since.elapsed() >= HOUR {
            (self.left, self.since) = (MAX_LOG, Instant::now());
        }
        if self.left == 0 {
            return;
        }
        let (bytes, rest) = bytes.split_at(bytes.len().min(self.left));
        self.left -= bytes.len();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.line.extend_from_slice(&text[..text.len().min(MAX_LINE - self.line.len())]);
            if text.len() < piece.len() {
                print(&self.line);
                self.line.clear();
            }
        }
        if !rest.is_empty() {
            tracing::warn!(target: "handfast", "the worker's log has more than {} MiB: the rest is left out", MAX_LOG >> 20);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut log, _worker) = Log::new().unwrap();
        let mut lines = Vec::new();
        pieces.iter().for_each(|piece| log.take(piece, |line| lines.push(line.to_vec())));
        lines
    }

    #[test]
    fn a_line_is_printed_when_it_is_complete() {
        assert_eq!(lines(&[b"wa", b"b\nec\n", b"\nd"]), [&b"wab"[..], b"ec", b""]);
    }

    #[test]
    fn a_line_and_a_log_have_bounds() {
        let long = lines(&[&[b'x'; 2 * MAX_LINE], b"y\n", b"wz\n"]);
        assert_eq!((long[0].len(), &long[1][..]), (MAX_LINE, &b"wz"[..]));
        let (mut log, _worker) = Log::new().unwrap();
        let mut count = 0;
        (0..3 * MAX_LOG / 1024).for_each(|_| log.take(&[b'\n'; 1024], |_| count += 1));
        assert_eq!(count, MAX_LOG);
    }

    #[test]
    fn a_worker_that_is_gone_is_waited_for_no_longer() {
        let (mut log, worker) = Log::new().unwrap();
        log.copy();
        assert!(log.pipe().is_some(), "nothing has come yet");
        drop(worker);
        log.copy();
        assert!(log.pipe().is_none());
    }
}
