//! What stays after a start, and keeps the secrets fresh.
#![forbid(unsafe_code)]

pub mod ready;
mod status;
mod watch;

pub use watch::{first, watch};
