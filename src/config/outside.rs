//! The settings outside the files: the environment, then the command line. Each overrides the settings before it.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsStr;

use handfast_core::keys::{Key, check};
use handfast_core::{Item, Place, Problems, Table, Value, excerpt};
use zeroize::Zeroizing;

use super::environment::{Environment, NotText};
use super::keys;
use super::merge::{Config, Written};
use crate::cli::Options;

/// Adds the references in variables, and handfast's own variables. `report` has read the variables of the log earlier.
pub fn environment(config: &mut Config, environment: &Environment, problems: &mut Problems) {
    let place = &Place::Environment;
    for found in environment.references(problems) {
        let Some(secret) = config.declared(&found.secret, place, problems) else { continue };
        secret.from = Some(Written { text: Some(found.reference), place: place.clone() });
        secret.variable = Some((found.variable, found.gives));
    }
    if let Some(directory) = environment.raw("HANDFAST_DIR") {
        set_directory(config, directory, "the variable `HANDFAST_DIR`", place, problems);
    }
    for setting in [USER, DEADLINE] {
        match environment.text(setting.variable) {
            Ok(Some(text)) => set(config, &setting, text, place, problems),
            Ok(None) => {}
            Err(NotText) => problems.add(place, format!("the variable `{}` is not UTF-8", setting.variable)),
        }
    }
}

/// Adds the command line's options.
pub fn command_line(config: &mut Config, options: &Options, problems: &mut Problems) {
    let place = &Place::CommandLine;
    let mut seen = BTreeSet::new();
    for text in &options.secrets {
        let Some((name, reference)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let message = format!("`--secret {}` is not NAME=REF", excerpt(text));
            problems.add_with_hint(place, message, "such as `-s db-password=mock:db`");
            continue;
        };
        if !seen.insert(name) {
            problems.add(place, format!("`--secret` gives `{}` twice", excerpt(name)));
        }
        if let Some(secret) = config.declared(name, place, problems) {
            secret.from = Some(Written { text: Some(reference.to_owned()), place: place.clone() });
        }
    }
    if let Some(directory) = &options.directory {
        set_directory(config, directory.as_os_str(), "`--dir`", place, problems);
    }
    for (setting, text) in [(USER, &options.user), (DEADLINE, &options.deadline)] {
        if let Some(text) = text {
            set(config, &setting, text, place, problems);
        }
    }
}

/// A key of the files that a variable and an option can set too.
struct Setting {
    variable: &'static str,
    key: &'static str,
    table: fn(&mut Config) -> &mut Table,
    table_name: &'static str,
    known: &'static [Key],
}

const USER: Setting = Setting {
    variable: "HANDFAST_USER",
    key: "user",
    table: |config| &mut config.app,
    table_name: "app",
    known: keys::APP,
};

const DEADLINE: Setting = Setting {
    variable: "HANDFAST_DEADLINE",
    key: "deadline",
    table: |config| &mut config.fetch,
    table_name: "fetch",
    known: keys::FETCH,
};

/// Sets a key, with the same check as in a file.
fn set(config: &mut Config, setting: &Setting, text: &str, place: &Place, problems: &mut Problems) {
    let mut alone = Table::default();
    set_text(&mut alone, setting.key, text, place);
    check(&alone, setting.table_name, &[setting.known], problems);
    (setting.table)(config).merge(alone);
}

fn set_directory(config: &mut Config, directory: &OsStr, what: &str, place: &Place, problems: &mut Problems) {
    let value = match directory.to_str() {
        Some(text) => Value::String(Zeroizing::new(text.to_owned())),
        None => {
            problems.add(place, format!("{what} is not UTF-8"));
            Value::Wrong
        }
    };
    config.files.set("dir", place.clone(), Item { place: place.clone(), value });
}

fn set_text(table: &mut Table, key: &str, text: &str, place: &Place) {
    let value = Value::String(Zeroizing::new(text.to_owned()));
    table.set(key, place.clone(), Item { place: place.clone(), value });
}
