//! Files, environment and command line, merged key by key.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use handfast_core::{Complaint, Item, Place, Problems, Table, Value, excerpt};

use super::app_settings::AppSettings;
use super::environment::{Environment, Gives};
use super::interpolate::Interpolation;
use super::trust::Trust;
use super::{bootstrap, keys};

/// The most secrets that may be declared: no more can be delivered.
pub const MAX_SECRETS: usize = 4096;

/// The most `[providers.NAME]` tables.
const MAX_PROVIDERS: usize = 256;

/// The merged configuration from files, environment and command line.
#[derive(Default)]
pub struct Config {
    /// `[app]`.
    pub app: Table,
    /// `[files]`.
    pub files: Table,
    /// `[fetch]`.
    pub fetch: Table,
    /// `[watch]`.
    pub watch: Table,
    /// `[providers.NAME]`.
    pub providers: Vec<Named>,
    /// `[secrets.NAME]`, references in variables, and `--secret`.
    pub secrets: Vec<Declared>,
    /// Whose files this process trusts; `None` if it has no privileges.
    pub trust: Option<Trust>,
    /// The settings about the app of each file, and who may have written the file.
    pub app_settings: Vec<AppSettings>,
    /// The reasons why files were refused before they were read, and problems with the setting of whom to trust.
    pub refusals: Problems,
    /// Whether a file was refused before it was read.
    pub is_refused: bool,
    /// Each secret's index, by name.
    by_name: BTreeMap<String, usize>,
    /// Whether there were more secrets or providers than allowed, which is reported once.
    full: bool,
}

/// A table whose name the user chose.
pub struct Named {
    /// The name.
    pub name: String,
    /// The place of the table.
    pub place: Place,
    /// The table.
    pub table: Table,
}

/// One secret as declared in files, in a variable, on the command line, or in several of these.
pub struct Declared {
    /// Its name.
    pub name: String,
    /// The place of its first declaration.
    pub place: Place,
    /// Its keys in the file.
    pub table: Table,
    /// Its reference, from the source with the highest precedence.
    pub from: Option<Written>,
    /// The variable that held a reference.
    pub variable: Option<(String, Gives)>,
}

/// A text and its place.
pub struct Written {
    /// The text; `None` if it could not be read, which has been reported.
    pub text: Option<String>,
    /// The place of the text.
    pub place: Place,
}

impl Config {
    /// A configuration without any setting, with the findings from reading the files.
    pub fn empty(trust: Option<Trust>, refusals: Problems, is_refused: bool) -> Self {
        Self { trust, refusals, is_refused, ..Self::default() }
    }

    /// Merges the settings of one file. A later file replaces single keys.
    pub fn merge_file(&mut self, table: Table, problems: &mut Problems) {
        for (key, key_place, item) in table.into_entries() {
            let known = keys::TABLES.contains(&key.as_str());
            match (key.as_str(), item.value) {
                ("app", Value::Table(table)) => self.app.merge(table),
                ("files", Value::Table(table)) => self.files.merge(table),
                ("fetch", Value::Table(table)) => self.fetch.merge(table),
                ("watch", Value::Table(table)) => self.watch.merge(table),
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

    /// Turns the variables that the providers' settings name as credentials into bootstrap credentials.
    pub fn take_credentials(&self, environment: &mut Environment) {
        environment.take_credentials(self.providers.iter().flat_map(|named| bootstrap::named(&named.table)));
    }

    /// Checks every key and the type of its value.
    pub fn check_keys(&self, problems: &mut Problems) {
        use handfast_core::keys::check;
        check(&self.app, "app", &[keys::APP], problems);
        check(&self.files, "files", &[keys::FILES], problems);
        check(&self.fetch, "fetch", &[keys::FETCH], problems);
        check(&self.watch, "watch", &[keys::WATCH], problems);
        for secret in &self.secrets {
            check(&secret.table, &format!("secrets.{}", excerpt(&secret.name)), &[keys::SECRET], problems);
        }
    }

    /// Takes each secret's `from` out of its table and replaces its variables. A `from` that the environment or the command line
    /// overrides is not checked: its variables need not be set.
    pub fn read_references(
        &mut self,
        mut variables: Interpolation,
        environment: &Environment,
        problems: &mut Problems,
    ) {
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

    /// The secret of this name, added if it is new; `None` if there are too many.
    pub fn declared(&mut self, name: &str, place: &Place, problems: &mut Problems) -> Option<&mut Declared> {
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
