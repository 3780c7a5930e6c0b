//! The worker: a sandboxed child process that talks to the stores, so that the privileged process need not.
//!
//! `link` runs in the privileged process, `inside` in the worker. Both use `frame`, the format of the worker's messages, and `order`,
//! the format of the orders to a worker that lives on.
#![forbid(unsafe_code)]

mod frame;
mod inside;
mod link;
mod order;

pub use crate::fetch::{Digests, EarlierValues};
pub use frame::Report;
pub use inside::Task;
pub use link::{Attempt, Interrupts, Link, Message, Rehearsal, Tried, attempt, policy, sum};
