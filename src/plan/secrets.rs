//! The secrets: what each one is, and where it shall go.
#![forbid(unsafe_code)]

use std::os::fd::RawFd;

use handfast_core::{Item, Problems, SecretRef, Selection, Table, Value, excerpt};
use serde_json::Value as Json;

use super::catalog::Catalog;
use super::targets::{END, FIRST, Given};
use super::{Secret, valid_name};
use crate::config::{Declared, Gives};
use crate::identity::{Name, UserName};

/// What a name may be, for a hint.
pub const NAMES: &str = "`[A-Za-z0-9._-]`, 1 to 128, not starting with a dot";

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
    catalog: &mut Catalog<'_>,
    problems: &mut Problems,
) -> Vec<Secret> {
    declared.sort_by(|a, b| a.name.cmp(&b.name));
    let wanted: Vec<_> = declared.iter().map(|secret| wanted(secret, settings, problems)).collect();
    // The numbers that are asked for go first: "auto" takes what they leave.
    let mut given = Given::default();
    for (secret, wanted) in declared.iter().zip(&wanted) {
        if let Wanted::Number(number) = wanted {
            given.number(secret, *number, problems);
        }
    }
    let mut secrets = Vec::with_capacity(declared.len());
    let one = |(secret, wanted)| one(secret, wanted, settings, &mut given, catalog, problems);
    secrets.extend(declared.iter().zip(wanted).filter_map(one));
    secrets
}

/// One secret; `None` where `problems` say why.
fn one(
    declared: &Declared,
    wanted: Wanted,
    settings: Settings,
    given: &mut Given,
    catalog: &mut Catalog<'_>,
    problems: &mut Problems,
) -> Option<Secret> {
    check_name(declared, problems);
    let owner = owner(declared, problems);
    let mut reference = reference(declared, problems);
    let resolved = reference.as_mut().and_then(|(reference, place)| catalog.resolve(reference, place, problems));
    let is_list = resolved.as_ref().is_some_and(|resolved| resolved.is_list);
    let every = reference.as_ref().is_some_and(|(reference, _)| reference.selection == Selection::Every);
    let several = is_list || every;
    let target = match wanted {
        Wanted::File(name) => {
            let mode = declared.table.string("mode").and_then(handfast_core::keys::parse_mode);
            given.file(declared, name, several, (mode.unwrap_or(settings.mode), owner), problems)
        }
        Wanted::Number(_) | Wanted::AnyNumber if several => {
            let place = declared.from.as_ref().map_or(&declared.place, |from| &from.place);
            let message = format!("the secret `{}` is several values, which go to files only", excerpt(&declared.name));
            problems.add_with_hint(place, message, "set a files directory, and take `fd` out");
            return None;
        }
        Wanted::Number(number) => super::Target::Descriptor(number),
        Wanted::AnyNumber => given.lowest(declared),
    };
    let (path_variables, number_variables) = given.variables(declared, several, &target, problems);
    Some(Secret {
        name: declared.name.clone(),
        reference: reference?.0,
        instance: resolved?.instance,
        target,
        optional: declared.table.boolean("optional").unwrap_or(false),
        is_list,
        path_variables,
        number_variables,
    })
}

fn check_name(declared: &Declared, problems: &mut Problems) {
    if valid_name(&declared.name) {
        return;
    }
    let name = excerpt(&declared.name);
    let message = match &declared.variable {
        Some((variable, _)) => format!("`{}` gives the name `{name}`, which cannot be a secret's", excerpt(variable)),
        None => format!("`{name}` cannot be a secret's name"),
    };
    problems.add_with_hint(&declared.place, message, NAMES);
}

/// The reference, and where it stands.
fn reference<'d>(declared: &'d Declared, problems: &mut Problems) -> Option<(SecretRef, &'d handfast_core::Place)> {
    let Some(from) = &declared.from else {
        let hint = "`from = \"<provider>:<locator>\"`, or `-s NAME=REF`";
        problems.add_with_hint(
            &declared.place,
            format!("the secret `{}` has no `from`", excerpt(&declared.name)),
            hint,
        );
        return None;
    };
    match SecretRef::parse(from.text.as_ref()?) {
        Ok(mut reference) => {
            reference.locator.params = declared.table.table("params").map(|params| json(params).to_string());
            Some((reference, &from.place))
        }
        Err(complaint) => {
            problems.add(&from.place, complaint);
            None
        }
    }
}

/// A table as JSON, keys in order. What it cannot hold has been reported.
fn json(table: &Table) -> Json {
    fn value(item: &Item) -> Json {
        match &item.value {
            Value::String(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Boolean(value) => (*value).into(),
            Value::Array(items) => items.iter().map(value).collect(),
            Value::Table(table) => json(table),
            Value::Float | Value::Datetime | Value::Wrong => Json::Null,
        }
    }
    table.iter().map(|(key, item)| (key, value(item))).collect()
}

/// "uid:gid", both as numbers: a name's number would be looked up for nobody's benefit, `owner` is for other containers' users.
fn owner(declared: &Declared, problems: &mut Problems) -> Option<(u32, u32)> {
    let text = declared.table.string("owner")?;
    if let Ok(UserName { user: Name::Number(uid), group: Some(Name::Number(gid)) }) = UserName::parse(text) {
        return Some((uid, gid));
    }
    let place = declared.table.place("owner").unwrap_or(&declared.place);
    problems.add(place, format!("`owner` is \"{}\", expected \"uid:gid\", two numbers", excerpt(text)));
    None
}

/// What a declaration asks for, before numbers are given out.
enum Wanted {
    Number(RawFd),
    AnyNumber,
    /// A file of this name, or of the usual one.
    File(Option<String>),
}

fn wanted(secret: &Declared, settings: Settings, problems: &mut Problems) -> Wanted {
    let (name, table) = (excerpt(&secret.name), &secret.table);
    let (file, descriptor) = (table.item("file"), table.item("fd"));
    let by_number = matches!(secret.variable, Some((_, Gives::Number)));
    if let Some(file) = file {
        if descriptor.is_some() {
            problems.add(&file.place, format!("the secret `{name}` has both `file` and `fd`"));
        }
        if !settings.files {
            let hint = "set `--dir`, HANDFAST_DIR or `[files] dir`, or take `file` out to get a descriptor";
            let message = format!("the secret `{name}` has `file`, and no files directory is set");
            problems.add_with_hint(&file.place, message, hint);
        }
        // A value that is no string has been reported.
        return Wanted::File(table.string("file").map(str::to_owned));
    }
    if settings.only_files && (descriptor.is_some() || by_number) {
        let place = descriptor.map_or(&secret.place, |item| &item.place);
        problems.add(place, format!("the secret `{name}` is a descriptor, and `init` hands none over"));
    }
    match descriptor.map(|item| (&item.value, &item.place)) {
        Some((Value::Integer(number), place)) => match RawFd::try_from(*number) {
            Ok(number) if (FIRST..END).contains(&number) => Wanted::Number(number),
            _ => {
                let last = END - 1;
                problems.add(place, format!("`fd` is {number}, expected \"auto\" or a number from {FIRST} to {last}"));
                Wanted::AnyNumber
            }
        },
        Some(_) => Wanted::AnyNumber,
        None if settings.files && !by_number => Wanted::File(None),
        // Without a directory; `init` has said that it has none.
        None => Wanted::AnyNumber,
    }
}
