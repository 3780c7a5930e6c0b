//! `ready`: whether a keeper lives, and its files are there and fresh.
#![forbid(unsafe_code)]

use std::time::Instant;

use handfast_core::{Place, Problems, escaped_excerpt, keys};

use super::start;
use crate::cli::Options;
use crate::config::{self, Environment};
use crate::error::Result;
use crate::keep::ready;
use crate::plan;

/// Fails if they are not when `wait` is over.
pub fn ready(
    options: &Options,
    wait: Option<&str>,
    mut environment: Environment,
    started: Instant,
    mut problems: Problems,
) -> Result<()> {
    let patience = wait.map(|text| keys::parse_duration(text).ok_or(text)).transpose().unwrap_or_else(|text| {
        let message = format!("`--wait` is \"{}\", expected a duration such as \"30s\"", escaped_excerpt(text));
        problems.add(&Place::CommandLine, message);
        None
    });
    let config = config::read(options, &mut environment, start::ending_signals(), started, &mut problems)?;
    let directory = plan::directory(&config.files, &mut problems);
    if directory.is_none() {
        let hint = "`--dir /run/secrets`, HANDFAST_DIR or `[files] dir`";
        problems.add_with_hint(&Place::CommandLine, "`ready` looks at files, and no files directory is set", hint);
    }
    match directory.filter(|_| problems.is_empty()) {
        Some(directory) => ready::wait(&directory, patience.unwrap_or_default()),
        None => Err(config::error(problems)),
    }
}
