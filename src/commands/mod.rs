//! The commands, a file each: what each does, a line a stage.
#![forbid(unsafe_code)]

pub mod check;
pub mod init;
pub mod install;
pub mod policy;
pub mod ready;
pub mod run;
mod start;
pub mod watch;
