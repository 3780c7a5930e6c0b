//! Waits in tokio's runtime until a descriptor can be read.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// A descriptor that the runtime watches. The caller reads from it.
pub struct Readable<'d>(AsyncFd<BorrowedFd<'d>>);

impl<'d> Readable<'d> {
    /// Begins to watch.
    pub fn of(descriptor: BorrowedFd<'d>) -> io::Result<Self> {
        // SAFETY: the descriptor is borrowed for `'d`, so that its owner keeps it open, and the same, for as long as this value
        // lives; a `BorrowedFd` gives the same number at each call.
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Self(watched?))
    }

    /// Waits until there may be something to read. A caller that then finds nothing clears the guard, and waits again.
    pub async fn wait(&self) -> io::Result<AsyncFdReadyGuard<'_, BorrowedFd<'d>>> {
        self.0.readable().await
    }

    /// The descriptor's number.
    pub fn number(&self) -> RawFd {
        self.0.get_ref().as_raw_fd()
    }
}
