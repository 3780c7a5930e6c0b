//! What stays after a start: the supervisor of an app, or the keeper of files.
#![forbid(unsafe_code)]

mod app;
mod fresh;
mod front;
mod keeper;
mod reaction;
pub mod ready;
mod recipe;
mod status;
mod supervise;
mod telling;
mod terminal;
mod undelivered;
mod watch;

pub use app::Recipient;
pub use fresh::supervise_fresh;
pub use recipe::Recipe;
pub use supervise::supervise;
pub use watch::{first, watch};
