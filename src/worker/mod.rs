//! The worker: a forked process without privileges that talks to the stores, so that the privileged process need not.
//!
//! `link` is the privileged process' side, `inside` is the worker's, and `frame` is what goes from one to the other.
#![forbid(unsafe_code)]

mod frame;
mod inside;
mod link;

pub use link::{Link, Tried, Watch, attempt, policy, sum};

/// What a worker is forked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To fetch every secret.
    Fetch,
    /// To fetch each secret, say whether it can be had, and give back what was issued for it. No value leaves the worker.
    Try,
    /// To render the policy for the secrets of this provider instance, an index into the plan's.
    Policy(usize),
}
