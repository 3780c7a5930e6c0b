//! The worker: a forked process without privileges that talks to the stores, so that the privileged process need not.
//!
//! `link` is the privileged process' side, `inside` is the worker's, and `frame` is what goes from one to the other.
#![forbid(unsafe_code)]

mod frame;
mod inside;
mod link;

pub use inside::Task;
pub use link::{Link, Tried, Watch, attempt, policy, sum};
