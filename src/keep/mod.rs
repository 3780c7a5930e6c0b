//! What stays after a start: the supervisor of an app, or the keeper of files.
#![forbid(unsafe_code)]

mod app;
pub mod ready;
mod status;
mod supervise;
mod telling;
mod terminal;
mod undelivered;
mod watch;

pub use app::Recipient;
pub use supervise::supervise;
pub use watch::{first, watch};
