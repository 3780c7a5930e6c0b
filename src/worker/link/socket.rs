//! The privileged process' end of the socketpair. Nothing here blocks but a wait that signals and the deadline end.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use zeroize::Zeroize;

use super::interrupts::WorkerWait;
use crate::cage::system;
use crate::error::{Class, Error, Phase, Result};

/// A message after a commit: handfast's worker sends none.
pub const AFTER_COMMIT: &str = "something after its commit";

/// Our end of the socketpair. Reads ahead, so that small frames do not cost several calls each.
pub struct Socket {
    stream: UnixStream,
    /// Bytes that were read ahead, from `start` to `end`. The allocator wipes the buffer when it is freed.
    ahead: Vec<u8>,
    start: usize,
    end: usize,
}

impl Socket {
    /// Bytes that are read ahead, at most: enough for dozens of usual secrets.
    const AHEAD: usize = 2048;

    /// Nothing has been read so far.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, ahead: vec![0; Self::AHEAD], start: 0, end: 0 }
    }

    /// The end itself.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether no byte is left of those that were read ahead.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Fills the buffer, unless a signal or the deadline ends the wait.
    pub fn read(&mut self, mut buffer: &mut [u8], wait: &mut WorkerWait<'_, '_>) -> Result<()> {
        while !buffer.is_empty() {
            if !self.is_empty() {
                let count = buffer.len().min(self.end - self.start);
                let (now, later) = buffer.split_at_mut(count);
                now.copy_from_slice(&self.ahead[self.start..self.start + count]);
                // Wiped now: the next message of a worker that lives on may come much later.
                self.ahead[self.start..self.start + count].zeroize();
                self.start += count;
                buffer = later;
            } else if buffer.len() >= Self::AHEAD {
                let count = require_data(receive(&self.stream, buffer, wait)?, wait)?;
                buffer = &mut buffer[count..];
            } else {
                (self.start, self.end) = (0, require_data(receive(&self.stream, &mut self.ahead, wait)?, wait)?);
            }
        }
        Ok(())
    }
}

/// The count, unless it is 0: a worker that closes its end in the middle of a frame has ended too early.
fn require_data(count: usize, wait: &mut WorkerWait<'_, '_>) -> Result<usize> {
    if count == 0 { Err(wait.worker_ended()) } else { Ok(count) }
}

/// Receives the bytes that have arrived; 0 if the worker has closed its end. Each call checks signals and the deadline, so that a
/// worker that sends without a pause cannot outlast them.
fn receive(socket: &UnixStream, buffer: &mut [u8], wait: &mut WorkerWait<'_, '_>) -> Result<usize> {
    receive_with(MsgFlags::empty(), socket, buffer, wait)
}

fn receive_with(
    flags: MsgFlags,
    socket: &UnixStream,
    buffer: &mut [u8],
    wait: &mut WorkerWait<'_, '_>,
) -> Result<usize> {
    loop {
        wait.until_readable(socket.as_fd())?;
        match recv(socket.as_raw_fd(), buffer, flags | MsgFlags::MSG_DONTWAIT) {
            Ok(count) => return Ok(count),
            Err(Errno::EINTR) => {}
            // Nobody else reads from this socket: data that is there and cannot be read is out of band (MSG_OOB), which handfast's
            // worker never sends.
            Err(Errno::EAGAIN) => return Err(violation("something out of band")),
            // The worker ended before it had read every byte sent to it.
            Err(Errno::ECONNRESET) => return Err(wait.worker_ended()),
            Err(error) => return Err(system("read what the worker sent", error)),
        }
    }
}

/// Fails if data has arrived since the commit, or the worker has closed its socket. Waits for nothing.
pub fn check_quiet(socket: &Socket) -> Result<()> {
    let mut awaited = [PollFd::new(socket.stream.as_fd(), PollFlags::POLLIN)];
    match poll(&mut awaited, PollTimeout::ZERO) {
        Ok(0) | Err(Errno::EINTR) => Ok(()),
        Ok(_) if recv(socket.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK) == Ok(0) => {
            Err(Error::new(Phase::Deliver, Class::Internal, "the worker ended before its secrets were delivered"))
        }
        Ok(_) => Err(violation(AFTER_COMMIT)),
        Err(error) => Err(system("look for more from the worker", error)),
    }
}

/// Waits until a worker that has sent its last message closes its socket. Fails if it sends more.
pub fn await_end(socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<()> {
    if !socket.is_empty() || receive(&socket.stream, &mut [0], wait)? != 0 {
        return Err(violation(AFTER_COMMIT));
    }
    Ok(())
}

/// Waits until the worker sends more, which is not read here, or closes its socket. Returns whether it has sent more.
pub fn awaits_more(socket: &Socket, wait: &mut WorkerWait<'_, '_>) -> Result<bool> {
    receive_with(MsgFlags::MSG_PEEK, &socket.stream, &mut [0], wait).map(|count| count > 0)
}

/// Waits for more data and discards it. Returns `false` once the worker has closed its socket.
pub fn discard_more(socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<bool> {
    receive(&socket.stream, &mut socket.ahead, wait).map(|count| count > 0)
}

/// The failure of a worker that violates the protocol.
pub fn violation(what: &str) -> Error {
    Error::new(Phase::Fetch, Class::Internal, format!("the worker sent {what}"))
}
