//! `check` (stub).
#![forbid(unsafe_code)]
use crate::cli::Options;
use crate::config::Environment;
use crate::error::Result;
use std::time::Instant;
/// stub
pub fn check(_: &Options, _: &str, _: &Environment, _: Instant) -> Result<Vec<u8>> {
    Ok(Vec::new())
}
