//! The privileged process' end of the socketpair. Nothing here blocks but the wait that minds signals and the deadline.
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

/// What follows a commit is no worker's of ours.
pub const AFTER_COMMIT: &str = "something after its commit";

/// Our end of the socketpair. Reads ahead, so that small frames do not cost several calls each.
pub struct Socket {
    stream: UnixStream,
    /// What has been read and not yet asked for, from `start` to `end`. The allocator wipes it in the end.
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

    /// Nothing has been read that nobody has asked for.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Fills the buffer, minding signals and the deadline.
    pub fn read(&mut self, mut buffer: &mut [u8], wait: &mut WorkerWait<'_, '_>) -> Result<()> {
        while !buffer.is_empty() {
            if !self.is_empty() {
                let count = buffer.len().min(self.end - self.start);
                let (now, later) = buffer.split_at_mut(count);
                now.copy_from_slice(&self.ahead[self.start..self.start + count]);
                // A worker that lives on sends more, and what it sent before is not to stay here until then.
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

/// The count, where it is one: a worker that has closed its end in the middle of a frame has ended too early.
fn require_data(count: usize, wait: &mut WorkerWait<'_, '_>) -> Result<usize> {
    if count == 0 { Err(wait.worker_ended()) } else { Ok(count) }
}

/// Receives what has come; nothing where the worker has closed its end. Signals and the deadline are asked for each time, so that a
/// worker which never pauses cannot outlive them. Nothing here blocks but the wait that minds them.
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
            // Nobody else reads here: what is there and cannot be read is out of band (MSG_OOB), which no worker of ours sends.
            Err(Errno::EAGAIN) => return Err(violation("something out of band")),
            // It was gone before it had read all that we sent, which is nothing so far.
            Err(Errno::ECONNRESET) => return Err(wait.worker_ended()),
            Err(error) => return Err(system("read what the worker sent", error)),
        }
    }
}

/// Fails where something has come since the commit, or the worker has closed its socket. Waits for nothing.
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

/// Waits until a worker that has said all closes its socket: nothing may come any more.
pub fn await_end(socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<()> {
    if !socket.is_empty() || receive(&socket.stream, &mut [0], wait)? != 0 {
        return Err(violation(AFTER_COMMIT));
    }
    Ok(())
}

/// Waits until the worker says something, which stays to be read, or closes its socket; whether it has said something.
pub fn awaits_more(socket: &Socket, wait: &mut WorkerWait<'_, '_>) -> Result<bool> {
    receive_with(MsgFlags::MSG_PEEK, &socket.stream, &mut [0], wait).map(|count| count > 0)
}

/// Waits for more, and throws it away; whether there was any before the worker closed its socket.
pub fn discard_more(socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<bool> {
    receive(&socket.stream, &mut socket.ahead, wait).map(|count| count > 0)
}

/// The failure of a worker that sends what no worker of ours would send.
pub fn violation(what: &str) -> Error {
    Error::new(Phase::Fetch, Class::Internal, format!("the worker sent {what}"))
}
