//! The worker: a forked process without privileges that talks to the stores, so that the privileged process need not.
//!
//! `link` is the privileged process' side, `inside` is the worker's, and `frame` is what both speak over their socketpair.
#![forbid(unsafe_code)]

mod frame;
mod inside;
mod link;
mod undo;

pub use link::{Hired, Tried, Watch, attempt, fetch, hire, sum, survey};
pub use undo::Undo;
