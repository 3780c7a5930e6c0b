//! What was written: files, environment and command line, merged key by key; checked for form, not yet for sense.
//!
//! A wrong key or value never stops the reading: every problem is collected with its place.
#![forbid(unsafe_code)]

mod bootstrap;
pub mod environment;
mod interpolate;
mod keys;
mod outside;
pub mod schema;
mod source;

use std::fs::Metadata;
use std::path::PathBuf;

use handfast_core::{Item, Place, Problem, Problems, Table, Value};

pub use bootstrap::is_credential;
pub use environment::{Environment, Gives, NotText};
pub use keys::PROVIDER as PROVIDER_KEYS;
pub use source::{Writer, refuse_writable};

use crate::cli::Options;
use crate::error::{Class, Error, Phase};

/// Where the configuration is when nothing names it.
const DEFAULT_FILE: &str = "/etc/handfast.toml";

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
    /// The files that were read, with owner and mode.
    pub sources: Vec<(PathBuf, Metadata)>,
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

/// Reads everything. The command line wins over the environment, which wins over the files.
///
/// What the configuration itself names as credentials is one in `environment` from then on.
pub fn read(options: &Options, environment: &mut Environment, problems: &mut Problems) -> Config {
    let sources = source::read_all(&paths(options, environment), problems);
    let mut config = Config {
        app: Table::default(),
        files: Table::default(),
        fetch: Table::default(),
        providers: Vec::new(),
        secrets: Vec::with_capacity(options.secrets.len()),
        sources: Vec::new(),
    };
    for source in sources {
        config.sources.push((source.path, source.metadata));
        config.merge_file(source.table, problems);
    }
    // Before anything is interpolated: no credential gets into a setting. And after it: a name may be made of variables.
    config.take_credentials(environment);
    for named in &mut config.providers {
        interpolate::table(&mut named.table, environment, problems);
    }
    config.take_credentials(environment);
    interpolate::table(&mut config.files, environment, problems);
    config.check_keys(problems);
    outside::environment(&mut config, environment, problems);
    outside::command_line(&mut config, options, problems);
    config.read_references(environment, problems);
    config
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
                ("providers", Value::Table(tables)) => each(tables, "providers", problems, |name, place, table| {
                    merge_named(&mut self.providers, name, place, table);
                }),
                ("secrets", Value::Table(tables)) => each(tables, "secrets", problems, |name, place, table| {
                    self.declared(&name, &place).table.merge(table);
                }),
                (_, Value::Wrong) => {}
                (key, _) if keys::LATER_TABLES.contains(&key) => {
                    problems.add(&item.place, format!("[{key}] is not in this version"))
                }
                (key, value) if known => {
                    problems.add(&item.place, format!("`{key}` is {}, expected a table", value.describe()))
                }
                (key, _) => {
                    let hint = match handfast_core::nearest(key, keys::TABLES.iter().copied()) {
                        Some(near) => format!("did you mean [{near}]?"),
                        None => format!("the tables are: {}", keys::TABLES.join(", ")),
                    };
                    problems.add_with_hint(
                        &key_place,
                        format!("unknown table or key `{}`", handfast_core::excerpt(key)),
                        hint,
                    );
                }
            }
        }
    }

    fn take_credentials(&self, environment: &mut Environment) {
        for name in self.providers.iter().flat_map(|named| bootstrap::named(&named.table)) {
            environment.take_credential(name);
        }
    }

    fn check_keys(&self, problems: &mut Problems) {
        use handfast_core::keys::check;
        check(&self.app, "app", &[keys::APP], problems);
        check(&self.files, "files", &[keys::FILES], problems);
        check(&self.fetch, "fetch", &[keys::FETCH], problems);
        for secret in &self.secrets {
            check(&secret.table, &format!("secrets.{}", secret.name), &[keys::SECRET], problems);
        }
    }

    /// Takes each secret's `from` out of its table, with its variables replaced. One that the environment or the command line
    /// replaces says nothing: its variables need not be set where a configuration is tried.
    fn read_references(&mut self, environment: &Environment, problems: &mut Problems) {
        for secret in &mut self.secrets {
            let Some(Item { place, mut value }) = secret.table.remove("from") else { continue };
            if secret.from.is_some() {
                continue;
            }
            interpolate::replace(&mut value, &place, environment, problems);
            let text = match value {
                Value::String(text) => Some(text.as_str().to_owned()),
                _ => None,
            };
            secret.from = Some(Written { text, place });
        }
    }

    fn declared(&mut self, name: &str, place: &Place) -> &mut Declared {
        let at = match self.secrets.iter().position(|secret| secret.name == name) {
            Some(at) => at,
            None => {
                let table = Table::default();
                self.secrets.push(Declared {
                    name: name.to_owned(),
                    place: place.clone(),
                    table,
                    from: None,
                    variable: None,
                });
                self.secrets.len() - 1
            }
        };
        &mut self.secrets[at]
    }
}

fn each(tables: Table, parent: &str, problems: &mut Problems, mut take: impl FnMut(String, Place, Table)) {
    for (name, place, item) in tables.into_entries() {
        match item.value {
            Value::Table(table) => take(name, place, table),
            Value::Wrong => {}
            value => problems.add(
                &item.place,
                format!("`{}` in [{parent}] is {}, expected a table", handfast_core::excerpt(&name), value.describe()),
            ),
        }
    }
}

fn merge_named(list: &mut Vec<Named>, name: String, place: Place, table: Table) {
    match list.iter_mut().find(|named| named.name == name) {
        Some(named) => named.table.merge(table),
        None => list.push(Named { name, place, table }),
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
    let mut parts: Vec<Error> = problems.into_sorted().into_iter().map(single).collect();
    match parts.len() {
        1 => parts.remove(0),
        count => Error::new(
            Phase::Config,
            Class::Config,
            format!("the configuration has {count} problems; nothing was fetched"),
        )
        .parts(parts),
    }
}
