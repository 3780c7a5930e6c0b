//! The secrets: what each one is, where it goes, and which variables tell the app.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use handfast_core::{Place, Problems, SecretRef, Selection, Value};

use super::instances::Instances;
use super::{DESCRIPTORS_VARIABLE, DIRECTORY_VARIABLE, Secret, Target, valid_name};
use crate::config::{Declared, Gives};
use crate::identity::{Name, UserName};

/// The first number that a descriptor can have: 0, 1 and 2 are the app's own.
const FIRST: RawFd = 3;

/// The first number that no descriptor can have (`fs.nr_open`'s default).
const END: RawFd = 1 << 20;

/// What the other tables say about all secrets.
#[derive(Clone, Copy)]
pub struct Settings {
    /// There is a files directory.
    pub files: bool,
    /// Descriptors go nowhere: `init` hands over to nobody.
    pub only_files: bool,
    /// `[files] mode`.
    pub mode: u32,
}

/// Checks every secret and gives each its target; in order of name.
pub fn secrets(
    mut declared: Vec<Declared>,
    settings: Settings,
    instances: &mut Instances,
    problems: &mut Problems,
) -> Vec<Secret> {
    declared.sort_by(|a, b| a.name.cmp(&b.name));
    let mut taken = Taken::default();
    let wanted: Vec<_> = declared.iter().map(|secret| wanted(secret, settings, problems)).collect();
    for (secret, wanted) in declared.iter().zip(&wanted) {
        taken.numbers_and_names(secret, wanted, problems);
    }
    let mut secrets = Vec::with_capacity(declared.len());
    for (secret, wanted) in declared.iter().zip(wanted) {
        if !valid_name(&secret.name) {
            let hint = "`[A-Za-z0-9._-]`, 1 to 128, not starting with a dot";
            problems.add_with_hint(
                &secret.place,
                format!("`{}` cannot be a secret's name", secret.name.escape_debug()),
                hint,
            );
        }
        let Some((text, place)) = &secret.from else {
            let hint = "`from = \"<provider>:<locator>\"`, or `-s NAME=REF`";
            problems.add_with_hint(&secret.place, format!("the secret `{}` has no `from`", secret.name), hint);
            continue;
        };
        let reference = match SecretRef::parse(text) {
            Ok(reference) => reference,
            Err(_) if text.is_empty() && !problems.is_empty() => continue,
            Err((message, hint)) => {
                problems.add_with_hint(place, message, hint);
                continue;
            }
        };
        let instance = instances.resolve(&reference, place, problems);
        let every = reference.selection == Selection::Every;
        let target = taken.target(secret, wanted, every, settings, problems);
        let (path_variables, number_variables) = taken.variables(secret, every, &target, problems);
        if let Some(instance) = instance {
            let optional = secret.table.boolean("optional").unwrap_or(false);
            secrets.push(Secret {
                name: secret.name.clone(),
                reference,
                instance,
                target,
                optional,
                path_variables,
                number_variables,
            });
        }
    }
    secrets
}

/// What a declaration asks for, before numbers are given out.
enum Wanted {
    Number(RawFd),
    AnyNumber,
    File(String),
}

fn wanted(secret: &Declared, settings: Settings, problems: &mut Problems) -> Wanted {
    let table = &secret.table;
    let place = |key: &str| table.place(key).unwrap_or(&secret.place).clone();
    let by_number = matches!(secret.variable, Some((_, Gives::Number)));
    if let (Some(file), Some(_)) = (table.place("file"), table.place("fd")) {
        problems.add(file, format!("the secret `{}` has both `file` and `fd`", secret.name));
    }
    if let Some(file) = table.string("file") {
        if by_number {
            let variable = secret.variable.as_ref().map_or("", |(name, _)| name);
            problems.add(
                &place("file"),
                format!("the secret `{}` is a file, and `{variable}` asks for a descriptor", secret.name),
            );
        } else if !settings.files {
            let hint = "set `--dir`, HANDFAST_DIR or `[files] dir`, or take `file` out to get a descriptor";
            problems.add_with_hint(
                &place("file"),
                format!("the secret `{}` has `file`, and no files directory is set", secret.name),
                hint,
            );
        }
        return Wanted::File(file.to_owned());
    }
    let descriptor = table.item("fd");
    if settings.only_files && (descriptor.is_some() || by_number) {
        let at = descriptor.map_or(secret.place.clone(), |item| item.place.clone());
        problems.add(&at, format!("the secret `{}` is a descriptor, and `init` hands none over", secret.name));
    }
    match descriptor.map(|item| (&item.value, &item.place)) {
        Some((Value::Integer(number), at)) => match RawFd::try_from(*number)
            .ok()
            .filter(|number| (FIRST..END).contains(number))
        {
            Some(number) => Wanted::Number(number),
            None => {
                problems
                    .add(at, format!("`fd` is {number}, expected \"auto\" or a number from {FIRST} to {}", END - 1));
                Wanted::AnyNumber
            }
        },
        Some(_) => Wanted::AnyNumber,
        None if by_number || !settings.files => Wanted::AnyNumber,
        None => Wanted::File(String::new()),
    }
}

/// What has been given out: nothing twice.
#[derive(Default)]
struct Taken {
    numbers: BTreeMap<RawFd, String>,
    variables: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

impl Taken {
    fn numbers_and_names(&mut self, secret: &Declared, wanted: &Wanted, problems: &mut Problems) {
        if let Wanted::Number(number) = wanted
            && let Some(other) = self.numbers.insert(*number, secret.name.clone())
        {
            let place = secret.table.place("fd").unwrap_or(&secret.place);
            problems
                .add(place, format!("the secrets `{other}` and `{}` both want the descriptor {number}", secret.name));
        }
    }

    fn target(
        &mut self,
        secret: &Declared,
        wanted: Wanted,
        every: bool,
        settings: Settings,
        problems: &mut Problems,
    ) -> Target {
        match wanted {
            Wanted::File(file) => self.file(secret, file, every, settings, problems),
            _ if every => {
                let hint = "set a files directory, and take `fd` out";
                let message = format!("the secret `{}` is every field of a value, which go to files only", secret.name);
                problems.add_with_hint(secret.from.as_ref().map_or(&secret.place, |(_, place)| place), message, hint);
                Target::Descriptor(FIRST)
            }
            Wanted::Number(number) => Target::Descriptor(number),
            Wanted::AnyNumber => {
                let number = (FIRST..END).find(|number| !self.numbers.contains_key(number)).unwrap_or(END);
                self.numbers.insert(number, secret.name.clone());
                Target::Descriptor(number)
            }
        }
    }

    fn file(
        &mut self,
        secret: &Declared,
        file: String,
        every: bool,
        settings: Settings,
        problems: &mut Problems,
    ) -> Target {
        let table = &secret.table;
        let place = table.place("file").unwrap_or(&secret.place);
        let name = match (file.is_empty() && table.item("file").is_none(), every) {
            (true, true) => "*".to_owned(),
            (true, false) => secret.name.clone(),
            (false, _) => file,
        };
        let sample = if every { name.replacen('*', "x", 1) } else { name.clone() };
        if every && name.matches('*').count() != 1 {
            problems.add(
                place,
                format!(
                    "`file` is \"{}\", expected one `*` in it: every field of `{}` is a file",
                    name.escape_debug(),
                    secret.name
                ),
            );
        } else if !valid_name(&sample) && (table.item("file").is_some() || every) {
            let hint = "`[A-Za-z0-9._-]`, 1 to 128, not starting with a dot";
            problems.add_with_hint(place, format!("`{}` cannot be a file's name", name.escape_debug()), hint);
        }
        if let Some(other) = self.files.insert(name.clone(), secret.name.clone()) {
            problems.add(place, format!("the secrets `{other}` and `{}` both want the file `{name}`", secret.name));
        }
        let owner = table.string("owner").and_then(|text| match numbers(text) {
            Some(ids) => Some(ids),
            None => {
                let at = table.place("owner").unwrap_or(&secret.place);
                problems.add(at, format!("`owner` is \"{}\", expected \"uid:gid\", two numbers", text.escape_debug()));
                None
            }
        });
        let mode = table.string("mode").and_then(handfast_core::keys::parse_mode).unwrap_or(settings.mode);
        Target::File { name, mode, owner }
    }

    /// The variables that get the path and those that get the number.
    fn variables(
        &mut self,
        secret: &Declared,
        every: bool,
        target: &Target,
        problems: &mut Problems,
    ) -> (Vec<String>, Vec<String>) {
        let table = &secret.table;
        let mut paths: Vec<(String, Place)> = Vec::new();
        let mut numbers: Vec<(String, Place)> = Vec::new();
        for (key, list) in [("path_env", &mut paths), ("fd_env", &mut numbers)] {
            if let (Some(name), Some(place)) = (table.string(key), table.place(key)) {
                list.push((name.to_owned(), place.clone()));
            }
        }
        match &secret.variable {
            Some((name, Gives::Path)) => paths.push((name.clone(), Place::Environment)),
            Some((name, Gives::Number)) => numbers.push((name.clone(), Place::Environment)),
            None => {}
        }
        if let (Target::File { .. }, Some((name, place))) = (target, numbers.first()) {
            problems.add(
                place,
                format!("`{name}` asks for a descriptor's number, and the secret `{}` is a file", secret.name),
            );
        }
        if every && let Some((name, place)) = paths.first() {
            let hint = "CREDENTIALS_DIRECTORY names their directory";
            problems.add_with_hint(
                place,
                format!("`{name}` asks for one path, and `{}` is a file for every field", secret.name),
                hint,
            );
        }
        let mut unique = |list: Vec<(String, Place)>| -> Vec<String> {
            let mut names: Vec<String> = Vec::new();
            for (name, place) in list {
                if names.contains(&name) {
                    continue;
                }
                let bad = name.is_empty() || name.contains(['=', '\0']);
                if bad || name == DESCRIPTORS_VARIABLE || name == DIRECTORY_VARIABLE {
                    problems.add(&place, format!("`{}` cannot be the name of the app's variable", name.escape_debug()));
                } else if let Some(other) = self.variables.insert(name.clone(), secret.name.clone()) {
                    problems.add(
                        &place,
                        format!("the variable `{name}` is wanted twice, by `{other}` and by `{}`", secret.name),
                    );
                }
                names.push(name);
            }
            names
        };
        (unique(paths), unique(numbers))
    }
}

/// "uid:gid", both as numbers: a name's number would be looked up for nobody's benefit, `owner` is for other containers' users.
fn numbers(text: &str) -> Option<(u32, u32)> {
    match UserName::parse(text) {
        Ok(UserName { user: Name::Number(uid), group: Some(Name::Number(gid)) }) => Some((uid, gid)),
        _ => None,
    }
}
