//! What stays after a start: the supervisor of an app, or the keeper of files.
#![forbid(unsafe_code)]

mod app;
mod keeper;
pub mod ready;
mod status;
mod supervise;
mod terminal;
mod watch;

pub use app::Recipient;
pub use supervise::supervise;
pub use watch::{first, watch};
