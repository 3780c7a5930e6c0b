//! The worker: a sandboxed child process that talks to the stores, so that the privileged process need not.
//!
//! `link` runs in the privileged process, `inside` in the worker. `frame` is the format of their messages, `order` that of the
//! answers, for both.
#![forbid(unsafe_code)]

mod frame;
mod inside;
mod link;
mod order;

pub use frame::Report;
pub use inside::Task;
pub use link::{Attempt, Link, News, Rehearsal, Tried, Watch, attempt, policy, sum};
