//! The commands, a file each. Each command reads as its stages, a line a stage.
#![forbid(unsafe_code)]

pub mod check;
pub mod init;
pub mod install;
pub mod policy;
pub mod ready;
pub mod run;
mod start;
pub mod watch;
