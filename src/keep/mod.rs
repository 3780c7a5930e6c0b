//! The stage `keep`: what stays of handfast once the app runs.
#![forbid(unsafe_code)]

mod app;
mod supervise;
mod terminal;

pub use app::Recipient;
pub use supervise::supervise;
