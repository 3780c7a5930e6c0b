//! The process that stays after a start: the supervisor of an app, or the keeper of files.
#![forbid(unsafe_code)]

mod app;
mod earlier;
mod fresh;
mod front;
mod keeper;
mod reaction;
pub mod ready;
mod recipe;
mod status;
mod status_schedule;
mod supervise;
mod terminal;
mod undelivered;
mod watch;

pub use app::Recipient;
pub use earlier::Earlier;
pub use fresh::supervise_fresh;
pub use recipe::Recipe;
pub use supervise::supervise;
pub use watch::{publish_first, watch};
