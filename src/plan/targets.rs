//! Descriptor numbers, file names and variables that secrets have claimed. No secret gets what another has claimed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use handfast_core::{Place, Problems, excerpt};

use super::delivery::{DESCRIPTORS_VARIABLE, DIRECTORY_VARIABLE, NAMES, Target, valid_name};
use crate::config::{Declared, Gives};

/// The first number that a descriptor can have: 0, 1 and 2 are the app's own.
pub const FIRST: RawFd = 3;

/// The first number that no descriptor can have (`fs.nr_open`'s default).
pub const END: RawFd = 1 << 20;

/// The claims so far, each with the name of its secret as messages quote it.
#[derive(Default)]
pub struct Claims<'a> {
    /// The numbers that the app gets as they were found, which no secret can have.
    inherited: &'a [RawFd],
    numbers: BTreeMap<RawFd, String>,
    files: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
    /// How many numbers from [`FIRST`] on are known to be taken. No number becomes free again.
    taken: RawFd,
}

impl<'a> Claims<'a> {
    /// No claims so far. No secret gets a number of `inherited`.
    pub fn beside(inherited: &'a [RawFd]) -> Self {
        Self { inherited, ..Self::default() }
    }

    /// Gives a secret the number that it asks for.
    pub fn number(&mut self, secret: &Declared, number: RawFd, problems: &mut Problems) {
        if self.inherited.contains(&number) {
            let place = secret.table.place("fd").unwrap_or(&secret.place);
            let name = excerpt(&secret.name);
            let message =
                format!("the secret `{name}` asks for the descriptor {number}, which the app gets as it was found");
            problems.add_with_hint(
                place,
                message,
                "`keep_fds` or socket activation (LISTEN_FDS) keeps it: choose another",
            );
        }
        if let Some(other) = self.numbers.insert(number, excerpt(&secret.name)) {
            let place = secret.table.place("fd").unwrap_or(&secret.place);
            let message =
                format!("the secrets `{other}` and `{}` both ask for the descriptor {number}", excerpt(&secret.name));
            problems.add(place, message);
        }
    }

    /// Gives a secret the lowest number that is free.
    pub fn lowest(&mut self, secret: &Declared) -> Target {
        let is_free = |number: &RawFd| !self.numbers.contains_key(number) && !self.inherited.contains(number);
        let number = (FIRST + self.taken..END).find(is_free).unwrap_or(END);
        self.taken = number + 1 - FIRST;
        self.numbers.insert(number, excerpt(&secret.name));
        Target::Descriptor(number)
    }

    /// Gives a secret a file: of the name that it asks for, or else of its own.
    pub fn file(
        &mut self,
        secret: &Declared,
        wanted: Option<String>,
        several: bool,
        (mode, owner): (u32, Option<(u32, u32)>),
        problems: &mut Problems,
    ) -> Target {
        let place = secret.table.place("file").unwrap_or(&secret.place);
        let is_own = wanted.is_none();
        let name = wanted.unwrap_or_else(|| if several { "*".into() } else { secret.name.clone() });
        if several && name.matches('*').count() != 1 {
            let why = format!("`{}` has several values, a file each", excerpt(&secret.name));
            problems.add(place, format!("`file` is \"{}\", expected one `*` in it: {why}", excerpt(&name)));
        } else if !is_own && !valid_name(&if several { name.replacen('*', "x", 1) } else { name.clone() }) {
            problems.add_with_hint(place, format!("`{}` cannot be a file's name", excerpt(&name)), NAMES);
        }
        // The names that a pattern makes are known after the fetch: a name that comes twice is refused then.
        if !several && let Some(other) = self.files.insert(name.clone(), excerpt(&secret.name)) {
            problems.add(
                place,
                format!(
                    "the secrets `{other}` and `{}` both ask for the file `{}`",
                    excerpt(&secret.name),
                    excerpt(&name)
                ),
            );
        }
        Target::File { name, mode, owner }
    }

    /// Gives a secret its variables: those that get the path, and those that get the number.
    pub fn variables(
        &mut self,
        secret: &Declared,
        several: bool,
        target: &Target,
        problems: &mut Problems,
    ) -> (Vec<String>, Vec<String>) {
        let (paths, numbers) = (asked(secret, "path_env", Gives::Path), asked(secret, "fd_env", Gives::Number));
        if let (Target::File { .. }, Some((name, place))) = (target, numbers.first()) {
            let message = format!(
                "`{}` asks for a descriptor's number, and the secret `{}` is a file",
                excerpt(name),
                excerpt(&secret.name)
            );
            let hint = match secret.table.item("file") {
                Some(_) => "take `file` out to make it a descriptor",
                None => "`fd = \"auto\"` makes it a descriptor",
            };
            problems.add_with_hint(place, message, hint);
        }
        if several && let Some((name, place)) = paths.first() {
            let message = format!(
                "`{}` asks for one path, and `{}` has several values, a file each",
                excerpt(name),
                excerpt(&secret.name)
            );
            problems.add_with_hint(place, message, "CREDENTIALS_DIRECTORY names their directory");
        }
        (self.each(secret, paths, problems), self.each(secret, numbers, problems))
    }

    fn each(&mut self, secret: &Declared, asked: Vec<(String, Place)>, problems: &mut Problems) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, place) in asked {
            // `path_env` may say what the variable's own name says.
            if names.contains(&name) {
                continue;
            }
            let impossible = name.is_empty() || name.contains(['=', '\0']);
            if impossible || name == DESCRIPTORS_VARIABLE || name == DIRECTORY_VARIABLE {
                problems.add(&place, format!("`{}` cannot be the name of the app's variable", excerpt(&name)));
            } else if let Some(other) = self.variables.insert(name.clone(), excerpt(&secret.name)) {
                let message = format!(
                    "the variable `{}` is set twice, by `{other}` and by `{}`",
                    excerpt(&name),
                    excerpt(&secret.name)
                );
                problems.add(&place, message);
            }
            names.push(name);
        }
        names
    }
}

/// The variables that a secret names: by a key of its table, and the one that holds its reference.
fn asked(secret: &Declared, key: &str, gives: Gives) -> Vec<(String, Place)> {
    let by_key = secret.table.string(key).zip(secret.table.place(key));
    let by_name = secret.variable.as_ref().filter(|(_, what)| *what == gives);
    let by_key = by_key.map(|(name, place)| (name.to_owned(), place.clone()));
    by_key.into_iter().chain(by_name.map(|(name, _)| (name.clone(), Place::Environment))).collect()
}
