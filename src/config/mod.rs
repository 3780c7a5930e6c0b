//! What was written: files, environment and command line, merged key by key; checked for form, not yet for sense.
//!
//! A wrong key or value never stops the reading: every problem is collected with its place.
#![forbid(unsafe_code)]

mod bootstrap;
pub mod environment;
mod interpolate;
mod keys;
pub mod schema;
mod source;

use std::fs::Metadata;
use std::path::PathBuf;

use handfast_core::{Item, Place, Problem, Problems, Table, Value};
use zeroize::Zeroizing;

pub use bootstrap::is_credential;
pub use environment::{Environment, Gives, NotText};
pub use keys::PROVIDER as PROVIDER_KEYS;
pub use source::refuse_writable;

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
    pub from: Option<(String, Place)>,
    /// The variable that held a reference.
    pub variable: Option<(String, Gives)>,
}

/// Reads everything. The command line wins over the environment, which wins over the files.
pub fn read(options: &Options, environment: &Environment, problems: &mut Problems) -> Config {
    let sources = source::read_all(&paths(options, environment), problems);
    let mut config = Config {
        app: Table::default(),
        files: Table::default(),
        fetch: Table::default(),
        providers: Vec::new(),
        secrets: Vec::new(),
        sources: Vec::new(),
    };
    for source in sources {
        config.sources.push((source.path, source.metadata));
        config.merge_file(source.table, problems);
    }
    for named in &mut config.providers {
        interpolate::table(&mut named.table, environment, problems);
    }
    interpolate::table(&mut config.files, environment, problems);
    config.check_keys(problems);
    config.read_references(environment, problems);
    config.merge_environment(environment, problems);
    config.merge_command_line(options, problems);
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
                    problems.add_with_hint(&key_place, format!("unknown table or key `{key}`"), hint);
                }
            }
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

    /// Takes each secret's `from` out of its table, with its variables replaced.
    fn read_references(&mut self, environment: &Environment, problems: &mut Problems) {
        for secret in &mut self.secrets {
            let Some(Item { place, value: Value::String(text) }) = secret.table.remove("from") else { continue };
            match interpolate::string(&text, environment) {
                Ok(text) => secret.from = Some((text, place)),
                // An empty reference stands for one that is wrong and has been reported.
                Err((message, hint)) => {
                    problems.add_with_hint(&place, message, hint);
                    secret.from = Some((String::new(), place));
                }
            }
        }
    }

    fn merge_environment(&mut self, environment: &Environment, problems: &mut Problems) {
        for found in environment.references(problems) {
            let secret = self.declared(&found.secret, &Place::Environment);
            secret.from = Some((found.reference, Place::Environment));
            secret.variable = Some((found.variable, found.gives));
        }
        if let Some(directory) = environment.raw("HANDFAST_DIR") {
            set_text(&mut self.files, "dir", directory.to_string_lossy().into_owned(), Place::Environment);
        }
        for (variable, key, in_app) in [("HANDFAST_USER", "user", true), ("HANDFAST_DEADLINE", "deadline", false)] {
            match environment.text(variable) {
                Ok(Some(text)) => self.set_option(key, in_app, text, Place::Environment, problems),
                Ok(None) => {}
                Err(NotText) => problems.add(&Place::Environment, format!("the variable `{variable}` is not UTF-8")),
            }
        }
    }

    fn merge_command_line(&mut self, options: &Options, problems: &mut Problems) {
        let mut seen: Vec<&str> = Vec::new();
        for text in &options.secrets {
            let Some((name, reference)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                let hint = "such as `-s db-password=mock:db`";
                problems.add_with_hint(
                    &Place::CommandLine,
                    format!("`--secret {}` is not NAME=REF", text.escape_debug()),
                    hint,
                );
                continue;
            };
            if seen.contains(&name) {
                problems.add(&Place::CommandLine, format!("`--secret` gives `{name}` twice"));
            }
            seen.push(name);
            self.declared(name, &Place::CommandLine).from = Some((reference.to_owned(), Place::CommandLine));
        }
        if let Some(directory) = &options.directory {
            set_text(&mut self.files, "dir", directory.to_string_lossy().into_owned(), Place::CommandLine);
        }
        if let Some(user) = &options.user {
            self.set_option("user", true, user, Place::CommandLine, problems);
        }
        if let Some(deadline) = &options.deadline {
            self.set_option("deadline", false, deadline, Place::CommandLine, problems);
        }
    }

    /// Sets one of handfast's own settings from outside the files, with the same check as in a file.
    fn set_option(&mut self, key: &str, in_app: bool, text: &str, place: Place, problems: &mut Problems) {
        let (target, table_name, known) =
            if in_app { (&mut self.app, "app", keys::APP) } else { (&mut self.fetch, "fetch", keys::FETCH) };
        let mut alone = Table::default();
        set_text(&mut alone, key, text.to_owned(), place);
        handfast_core::keys::check(&alone, table_name, &[known], problems);
        target.merge(alone);
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
            value => {
                problems.add(&item.place, format!("`{name}` in [{parent}] is {}, expected a table", value.describe()))
            }
        }
    }
}

fn merge_named(list: &mut Vec<Named>, name: String, place: Place, table: Table) {
    match list.iter_mut().find(|named| named.name == name) {
        Some(named) => named.table.merge(table),
        None => list.push(Named { name, place, table }),
    }
}

fn set_text(table: &mut Table, key: &str, text: String, place: Place) {
    table.set(key, place.clone(), Item { place, value: Value::String(Zeroizing::new(text)) });
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
