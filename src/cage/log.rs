//! The worker's log, on the privileged side: lines that come through a pipe, and are printed as lines of ours.
//!
//! The worker writes to a pipe and not to handfast's own stderr, since that is the app's too: who holds it could change it for the
//! app, or forge lines.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};

use crate::report;

/// The longest line, in bytes: what is longer is cut.
const MAX_LINE: usize = 8 << 10;

/// All lines of one worker together, in bytes: what comes after them is left out.
const MAX_LOG: usize = 1 << 20;

/// The end of the pipe that is read.
pub struct Log {
    /// None once the worker has closed its end.
    pipe: Option<OwnedFd>,
    /// The beginning of a line that is not complete.
    line: Vec<u8>,
    /// How many bytes may still come.
    left: usize,
}

impl Log {
    /// A log, and the end of its pipe that is the worker's. Neither end ever blocks.
    pub fn new() -> nix::Result<(Self, OwnedFd)> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok((Self { pipe: Some(ours), line: Vec::new(), left: MAX_LOG }, theirs))
    }

    /// What to wait for, as long as something can come.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Prints the lines that have come, and returns at once; a worker that writes without pause is heard again later.
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
                // Nothing more can be read: the log is a courtesy.
                Err(_) => self.pipe = None,
            }
        }
    }

    fn take(&mut self, bytes: &[u8], mut print: impl FnMut(&[u8])) {
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
