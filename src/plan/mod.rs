//! The stage `plan`: what a start will do. A plan cannot hold an invalid state, and making it changes nothing.
#![forbid(unsafe_code)]

mod catalog;
mod contents;
mod declarations;
mod delivery;
mod endpoint;
mod environment;
mod freshness;
mod inherited;
mod instances;
mod isolation;
pub mod make;
mod secret;
mod targets;
mod watching;

pub use contents::{Deadline, Files, Plan, Purpose, Swap};
pub use delivery::{Delivery, Target, valid_name};
pub use endpoint::Endpoint;
pub use instances::{Instance, Instances};
pub use isolation::Isolation;
pub use make::directory;
pub use secret::Secret;
pub use watching::{OnChange, OnStale, Watching};
