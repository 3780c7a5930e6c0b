//! The app's environment: its part of handfast's own, and the paths and numbers of its secrets, but never a value.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use handfast_core::{Problems, Table, excerpt};

use super::contents::Plan;
use super::delivery::{DESCRIPTORS_VARIABLE, DIRECTORY_VARIABLE, Target};
use crate::config::Environment;

/// A pattern in `env_remove` is no longer.
const MAX_PATTERN: usize = 256;

/// The part of handfast's environment that the app gets.
pub struct AppEnvironment {
    /// Its entries, such as `NAME=value`.
    pub entries: Vec<OsString>,
    /// The names of the variables that were removed.
    pub taken: Vec<String>,
}

impl AppEnvironment {
    /// As `env_keep` and `env_remove` say.
    pub fn read(app: &Table, environment: &Environment, problems: &mut Problems) -> Self {
        let patterns = app.strings("env_remove").unwrap_or_default();
        // Matching a pattern costs its length, for each variable.
        for (pattern, place) in patterns.iter().filter(|(pattern, _)| pattern.len() > MAX_PATTERN) {
            let message = format!("`{}` is longer than the {MAX_PATTERN} bytes of a pattern", excerpt(pattern));
            problems.add(place, message);
        }
        let list = |key: &str| -> Vec<String> {
            app.strings(key).unwrap_or_default().into_iter().map(|(name, _)| name.to_owned()).collect()
        };
        let remove: Vec<String> =
            list("env_remove").into_iter().filter(|pattern| pattern.len() <= MAX_PATTERN).collect();
        let (entries, taken) = environment.for_app(&list("env_keep"), &remove);
        Self { entries, taken }
    }
}

impl Plan {
    /// The app's PATH.
    pub fn path(&self) -> Option<&OsStr> {
        self.environment.iter().find_map(|entry| value(entry, "PATH"))
    }

    /// The entries of the app's whole environment, once it is known which secrets were delivered.
    ///
    /// The variables of an optional secret that is missing are unset: a path that leads nowhere would be a lie.
    pub fn app_environment(&self, delivered: impl Fn(usize) -> bool) -> Vec<OsString> {
        let mut settings: Vec<(&str, Option<OsString>)> = Vec::new();
        let mut set = |name, value| settings.push((name, value));
        let mut names = Vec::new();
        let mut any_file = false;
        for delivery in &self.deliveries {
            let (path, number) = match &delivery.target {
                Target::Descriptor(number) => (Some(OsString::from(format!("/dev/fd/{number}"))), Some(*number)),
                Target::File { name, .. } => (self.files.as_ref().map(|files| files.directory.join(name).into()), None),
            };
            let is_there = delivered(delivery.secret);
            any_file |= is_there && number.is_none();
            names.extend(number.filter(|_| is_there).map(|number| format!("{}:{number}", delivery.name)));
            for variable in &delivery.path_variables {
                set(variable, path.clone().filter(|_| is_there));
            }
            for variable in &delivery.number_variables {
                set(variable, number.filter(|_| is_there).map(|number| number.to_string().into()));
            }
        }
        // A value that was set when handfast started would name descriptors that are closed now.
        set(DESCRIPTORS_VARIABLE, (!names.is_empty()).then(|| names.join(",").into()));
        if let Some(files) = self.files.as_ref().filter(|_| any_file) {
            set(DIRECTORY_VARIABLE, Some(files.directory.clone().into()));
        }
        let mut entries = self.environment.clone();
        set_all(&mut entries, settings);
        entries
    }
}

/// Sets variables in place of what they held, or unsets them, in one pass; the last word on a name counts.
fn set_all(entries: &mut Vec<OsString>, settings: Vec<(&str, Option<OsString>)>) {
    let last: BTreeMap<&[u8], usize> =
        settings.iter().enumerate().map(|(at, (name, _))| (name.as_bytes(), at)).collect();
    entries.retain(|entry| {
        let mut parts = entry.as_bytes().splitn(2, |byte| *byte == b'=');
        let (name, has_value) = (parts.next().unwrap_or_default(), parts.next().is_some());
        !(has_value && last.contains_key(name))
    });
    for (at, (name, with)) in settings.into_iter().enumerate() {
        if let Some(value) = with.filter(|_| last.get(name.as_bytes()) == Some(&at)) {
            entries.push([OsStr::new(name), OsStr::new("="), &value].into_iter().collect());
        }
    }
}

/// Sets a variable in place of what it held, or unsets it.
pub fn set(entries: &mut Vec<OsString>, name: &str, with: Option<&OsStr>) {
    entries.retain(|entry| value(entry, name).is_none());
    entries.extend(with.map(|value| [name.as_ref(), OsStr::new("="), value].into_iter().collect()));
}

/// What an entry holds, if it is this variable's.
pub fn value<'e>(entry: &'e OsStr, name: &str) -> Option<&'e OsStr> {
    let rest = entry.as_bytes().strip_prefix(name.as_bytes())?;
    rest.strip_prefix(b"=").map(OsStr::from_bytes)
}
