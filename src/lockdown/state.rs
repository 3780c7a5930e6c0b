//! The state of the calling process before the drop.
#![forbid(unsafe_code)]

use super::failure::call;
use super::status::Status;
use crate::error::Result;
use crate::sys::capabilities;

/// The privileges of the calling process before [`lock`](super::lock); a child just forked has the same. The end of `lock` reads
/// the state from the kernel again.
#[derive(Clone, Debug)]
pub struct ProcessState {
    pub(super) status: Status,
    pub(super) securebits: u32,
}

impl ProcessState {
    /// Reads the state from the kernel.
    pub fn read() -> Result<Self> {
        let securebits = capabilities::securebits().map_err(|error| call("read the securebits", error))?;
        Ok(Self { status: Status::read()?, securebits })
    }
}
