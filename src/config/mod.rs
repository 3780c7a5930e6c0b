//! What was written: files, environment and command line, merged key by key; checked for form, not yet for sense.
//!
//! A wrong key or value never stops the reading: every problem is collected with its place.
#![forbid(unsafe_code)]

mod bootstrap;
pub mod environment;
mod interpolate;
mod keys;
mod outside;
mod said;
pub mod schema;
mod source;
mod trust;
mod waiting;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use handfast_core::{Complaint, Item, Place, Problem, Problems, Table, Value, excerpt};
use nix::sys::signal::Signal;

pub use bootstrap::is_credential;
pub use environment::{Environment, Gives, NotText};
use interpolate::Interpolation;
pub use keys::PROVIDER as PROVIDER_KEYS;
pub use said::Said;
pub use source::refuse;
pub use trust::{App, Suspect, Trust};
use waiting::Limits;

use crate::cli::Options;
use crate::error::{Class, Error, Phase, Result};

/// Where the configuration is when nothing names it.
const DEFAULT_FILE: &str = "/etc/handfast.toml";

/// How long a whole start may take where nothing is said.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// As many secrets are delivered at most, so as many are declared at most.
pub const MAX_SECRETS: usize = 4096;

/// As many files are read at most.
const MAX_FILES: usize = 16;

/// As many providers have a table at most.
const MAX_PROVIDERS: usize = 256;

/// Everything that was written, in one shape.
pub struct Config {
    /// `[app]`.
    pub app: Table,
    /// `[files]`.
    pub files: Table,
    /// `[fetch]`.
    pub fetch: Table,
    /// `[providers.NAME]`.
    pub providers: Vec<Named>,
    /// `[secrets.NAME]`, references in variables, and `--secret`.
    pub secrets: Vec<Declared>,
    /// Whom this process believes, where it has privileges.
    pub trust: Option<Trust>,
    /// Who wrote what of the app, file by file.
    pub said: Vec<Said>,
    /// What refuses a file before it was read, and what is wrong with whom this process shall believe.
    pub refusals: Problems,
    /// Whether a file was refused before it was read.
    pub is_refused: bool,
    /// Each secret's index, by name.
    by_name: BTreeMap<String, usize>,
    /// Whether there were more secrets or providers than there may be, which is told once.
    full: bool,
}

/// A table with a name of the user's.
pub struct Named {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// The table.
    pub table: Table,
}

/// One secret as it was declared, by one or several of: file, variable, command line.
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Where it was first declared.
    pub place: Place,
    /// Its keys in the file.
    pub table: Table,
    /// Its reference, from the source of highest precedence.
    pub from: Option<Written>,
    /// The variable that held a reference.
    pub variable: Option<(String, Gives)>,
}

/// A text and where it stands; none where it could not be read, which has been reported.
pub struct Written {
    /// The text.
    pub text: Option<String>,
    /// Where it stands.
    pub place: Place,
}

/// Reads everything. The command line wins over the environment, which wins over the files. Where the files keep it waiting, one
/// of `signals` ends it, and the deadline, which counts since `started`.
///
/// What the configuration itself names as credentials is one in `environment` from then on.
pub fn read(
    options: &Options,
    environment: &mut Environment,
    signals: &[Signal],
    started: Instant,
    problems: &mut Problems,
) -> Result<Config> {
    let limits = Limits { signals, started, deadline: deadline(options, environment) };
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
    // Where files are refused, this may be why.
    Trust::of_this_process(environment, &mut refusals);
    let mut config = Config {
        app: Table::default(),
        files: Table::default(),
        fetch: Table::default(),
        providers: Vec::new(),
        secrets: Vec::with_capacity(options.secrets.len().min(MAX_SECRETS)),
        trust,
        said: Vec::with_capacity(sources.len()),
        refusals,
        is_refused,
        by_name: BTreeMap::new(),
        full: false,
    };
    for source in sources {
        // Before a later file replaces it.
        config.said.push(Said::of(&source.table, source.place, source.suspects));
        config.merge_file(source.table, problems);
    }
    // Before anything is interpolated: no credential gets into a setting. And after it: a name may be made of variables.
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

/// The deadline of the reading itself: what stands in a file is not known yet, and what is wrong is told later.
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
    // Anything but "it is not there" is worth an error of its own when the file is then read.
    match default.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        _ => vec![default],
    }
}

impl Config {
    /// Takes one file in; a later file replaces single keys.
    fn merge_file(&mut self, table: Table, problems: &mut Problems) {
        for (key, key_place, item) in table.into_entries() {
            let known = keys::TABLES.contains(&key.as_str());
            match (key.as_str(), item.value) {
                ("app", Value::Table(table)) => self.app.merge(table),
                ("files", Value::Table(table)) => self.files.merge(table),
                ("fetch", Value::Table(table)) => self.fetch.merge(table),
                ("providers", Value::Table(tables)) => {
                    each(tables, "providers", problems, |named, problems| self.provider(named, problems));
                }
                ("secrets", Value::Table(tables)) => {
                    each(tables, "secrets", problems, |Named { name, place, table }, problems| {
                        if let Some(secret) = self.declared(&name, &place, problems) {
                            secret.table.merge(table);
                        }
                    });
                }
                (_, Value::Wrong) => {}
                (key, _) if keys::LATER_TABLES.contains(&key) => {
                    problems.add(&item.place, format!("[{key}] is not in this version"))
                }
                (key, value) if known => {
                    problems.add(&item.place, format!("`{key}` is {}, expected a table", value.describe()))
                }
                (key, _) => {
                    problems.add_lazily(&key_place, || {
                        let hint = match handfast_core::nearest(key, keys::TABLES.iter().copied()) {
                            Some(near) => format!("did you mean [{near}]?"),
                            None => format!("the tables are: {}", keys::TABLES.join(", ")),
                        };
                        Complaint::new(format!("unknown table or key `{}`", excerpt(key))).hint(hint)
                    });
                }
            }
        }
    }

    fn take_credentials(&self, environment: &mut Environment) {
        environment.take_credentials(self.providers.iter().flat_map(|named| bootstrap::named(&named.table)));
    }

    fn check_keys(&self, problems: &mut Problems) {
        use handfast_core::keys::check;
        check(&self.app, "app", &[keys::APP], problems);
        check(&self.files, "files", &[keys::FILES], problems);
        check(&self.fetch, "fetch", &[keys::FETCH], problems);
        for secret in &self.secrets {
            check(&secret.table, &format!("secrets.{}", excerpt(&secret.name)), &[keys::SECRET], problems);
        }
    }

    /// Takes each secret's `from` out of its table, with its variables replaced. One that the environment or the command line
    /// replaces says nothing: its variables need not be set where a configuration is tried.
    fn read_references(&mut self, mut variables: Interpolation, environment: &Environment, problems: &mut Problems) {
        for secret in &mut self.secrets {
            let Some(Item { place, mut value }) = secret.table.remove("from") else { continue };
            if secret.from.is_some() {
                continue;
            }
            variables.replace(&mut value, &place, environment, problems);
            let text = match value {
                Value::String(text) => Some(text.as_str().to_owned()),
                _ => None,
            };
            secret.from = Some(Written { text, place });
        }
    }

    /// The secret of this name, which may be a new one; `None` where there are too many.
    fn declared(&mut self, name: &str, place: &Place, problems: &mut Problems) -> Option<&mut Declared> {
        if let Some(at) = self.by_name.get(name) {
            return self.secrets.get_mut(*at);
        }
        if self.secrets.len() >= MAX_SECRETS {
            self.too_many(place, format!("there are more than {MAX_SECRETS} secrets"), problems);
            return None;
        }
        self.by_name.insert(name.to_owned(), self.secrets.len());
        let (name, place, table) = (name.to_owned(), place.clone(), Table::default());
        self.secrets.push(Declared { name, place, table, from: None, variable: None });
        self.secrets.last_mut()
    }

    fn provider(&mut self, provider: Named, problems: &mut Problems) {
        match self.providers.iter().position(|named| named.name == provider.name) {
            Some(at) => self.providers[at].table.merge(provider.table),
            None if self.providers.len() >= MAX_PROVIDERS => {
                self.too_many(&provider.place, format!("there are more than {MAX_PROVIDERS} providers"), problems);
            }
            None => self.providers.push(provider),
        }
    }

    fn too_many(&mut self, place: &Place, message: String, problems: &mut Problems) {
        if !self.full {
            self.full = true;
            problems.add_with_hint(place, message, "no start has more: several starts can have as many each");
        }
    }
}

fn each(tables: Table, parent: &str, problems: &mut Problems, mut take: impl FnMut(Named, &mut Problems)) {
    for (name, place, item) in tables.into_entries() {
        match item.value {
            Value::Table(table) => take(Named { name, place, table }, problems),
            Value::Wrong => {}
            value => problems.add(
                &item.place,
                format!("`{}` in [{parent}] is {}, expected a table", excerpt(&name), value.describe()),
            ),
        }
    }
}

/// All that is wrong, as one failure.
pub fn error(problems: Problems) -> Error {
    let single = |problem: Problem| {
        let error = Error::new(Phase::Config, Class::Config, format!("{}: {}", problem.place, problem.message));
        match problem.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    };
    let count = problems.len();
    let mut parts: Vec<Error> = problems.into_sorted().into_iter().map(single).collect();
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let told = match parts.len() {
        told if told < count => format!(", of which these are the first {told}"),
        _ => String::new(),
    };
    let message = format!("the configuration has {count} problems{told}; nothing was fetched");
    Error::new(Phase::Config, Class::Config, message).parts(parts)
}
