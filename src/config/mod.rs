//! The stage `config`: reads files, environment and command line, and checks their form. The stage `plan` checks their meaning.
//!
//! A wrong key or value does not stop the reading: all problems are collected, each with its place.
#![forbid(unsafe_code)]

mod app_settings;
mod bootstrap;
pub mod environment;
mod interpolate;
mod keys;
mod merge;
mod outside;
pub mod schema;
mod source;
mod trust;
mod waiting;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use handfast_core::{Place, Problem, Problems};

pub use app_settings::AppSettings;
pub use bootstrap::is_credential;
pub use environment::{Environment, Gives, NotText};
use interpolate::Interpolation;
pub use keys::PROVIDER as PROVIDER_KEYS;
pub use merge::{Config, Declared, MAX_SECRETS, Named};
pub use source::refuse;
pub use trust::{App, Suspect, Trust};
use waiting::Limits;

use crate::cli::Options;
use crate::error::{Class, Error, Phase, Result};
use crate::report;
use crate::sys::signals::Signals;

/// The configuration file if none is named.
const DEFAULT_FILE: &str = "/etc/handfast.toml";

/// The default deadline of a whole start.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The most configuration files.
const MAX_FILES: usize = 16;

/// Reads the whole configuration. The command line overrides the environment, which overrides the files. If a file, such as a
/// pipe, makes it wait, one of `signals` or the deadline, counted from `started`, ends the reading.
///
/// Variables that the configuration names as credentials become credentials in `environment`.
pub fn read(
    options: &Options,
    environment: &mut Environment,
    signals: Signals,
    started: Instant,
    problems: &mut Problems,
) -> Result<Config> {
    let limits = Limits { signals, started, deadline: deadline(options, environment) };
    report::wait_until_deadline(started + limits.deadline);
    let trust = Trust::of_this_process(environment, problems);
    let mut refusals = Problems::default();
    let mut paths = paths(options, environment);
    if paths.len() > MAX_FILES {
        let message = format!("there are more than {MAX_FILES} configurations");
        problems.add_with_hint(&Place::CommandLine, message, "one file can have what several have");
        paths.truncate(MAX_FILES);
    }
    let sources = source::read_all(&paths, trust, limits, problems, &mut refusals)?;
    let is_refused = !refusals.is_empty();
    // A wrong HANDFAST_CONFIG_OWNER may be why files are refused, so it is reported with them.
    Trust::of_this_process(environment, &mut refusals);
    let mut config = Config::empty(trust, refusals, is_refused);
    for source in sources {
        // Recorded before a later file replaces the settings.
        config.app_settings.push(AppSettings::of(&source.table, source.place, source.suspects));
        config.merge_file(source.table, problems);
    }
    // Done before the interpolation, so that no credential gets into a setting; and again after it, because a variable's name may
    // itself be interpolated.
    config.take_credentials(environment);
    let mut variables = Interpolation::new();
    for named in &mut config.providers {
        variables.table(&mut named.table, environment, problems);
    }
    config.take_credentials(environment);
    variables.table(&mut config.files, environment, problems);
    config.check_keys(problems);
    outside::environment(&mut config, environment, problems);
    outside::command_line(&mut config, options, problems);
    config.read_references(variables, environment, problems);
    limits.signal()?;
    Ok(config)
}

/// The deadline for the reading itself. The files' setting is not known yet, and a wrong value is reported later.
fn deadline(options: &Options, environment: &Environment) -> Duration {
    let text = options.deadline.as_deref().or_else(|| environment.text("HANDFAST_DEADLINE").ok().flatten());
    text.and_then(handfast_core::keys::parse_duration).unwrap_or(DEADLINE)
}

fn paths(options: &Options, environment: &Environment) -> Vec<PathBuf> {
    if !options.config.is_empty() {
        return options.config.clone();
    }
    if let Some(path) = environment.raw("HANDFAST_CONFIG") {
        return vec![path.into()];
    }
    let default = PathBuf::from(DEFAULT_FILE);
    // Other errors than "not found" are reported when the file is read.
    match default.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        _ => vec![default],
    }
}

/// All problems as one failure.
pub fn error(problems: Problems) -> Error {
    let single = |Problem { place, message, hint }| Error {
        hint,
        ..Error::new(Phase::Config, Class::Config, format!("{place}: {message}"))
    };
    let count = problems.len();
    let mut parts: Vec<Error> = problems.into_sorted().into_iter().map(single).collect();
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let shown = match parts.len() {
        shown if shown < count => format!(", of which these are the first {shown}"),
        _ => String::new(),
    };
    // The last line is all that some see of a start, such as `kubectl describe`.
    let first = parts.first().map(|part| format!("; the first: {}", part.message)).unwrap_or_default();
    let message = format!("the configuration has {count} problems{shown}; nothing was fetched{first}");
    Error::new(Phase::Config, Class::Config, message).parts(parts)
}
