//! From declarations to secrets and their deliveries.
#![forbid(unsafe_code)]

use std::os::fd::RawFd;

use handfast_core::{Item, Problems, SecretRef, Selection, Table, Value, excerpt};
use serde_json::Value as Json;

use super::catalog::Catalog;
use super::delivery::{Delivery, NAMES, Target, valid_name};
use super::freshness::Freshness;
use super::secret::Secret;
use super::targets::{Claims, END, FIRST};
use crate::config::{Declared, Gives};
use crate::identity::{Name, UserName};

/// The rules of the other tables for the targets of all secrets.
#[derive(Clone, Copy)]
pub struct TargetRules {
    /// There is a files directory.
    pub files: bool,
    /// The command, if it has no app that could inherit descriptors.
    pub only_files: Option<&'static str>,
    /// `[files] mode`.
    pub mode: u32,
}

/// Checks every declaration, and gives each secret its target; both lists are in order of name.
pub fn read(
    mut declared: Vec<Declared>,
    rules: TargetRules,
    freshness: &Freshness<'_>,
    inherited: &[RawFd],
    catalog: &mut Catalog<'_>,
    problems: &mut Problems,
) -> (Vec<Secret>, Vec<Delivery>) {
    declared.sort_by(|a, b| a.name.cmp(&b.name));
    let requests: Vec<_> = declared.iter().map(|secret| request(secret, rules, problems)).collect();
    // Requested numbers first: "auto" takes the numbers that are left.
    let mut claims = Claims::beside(inherited);
    for (secret, request) in declared.iter().zip(&requests) {
        if let Request::Number(number) = request {
            claims.number(secret, *number, problems);
        }
    }
    let (mut secrets, mut deliveries) = (Vec::with_capacity(declared.len()), Vec::with_capacity(declared.len()));
    for (declared, request) in declared.iter().zip(requests) {
        let index = secrets.len();
        if let Some((secret, delivery)) =
            read_one(index, declared, request, (rules, freshness), &mut claims, catalog, problems)
        {
            secrets.push(secret);
            deliveries.push(delivery);
        }
    }
    freshness.clear_refresh_of_snapshots(&mut secrets, &deliveries);
    (secrets, deliveries)
}

/// One secret, under this index, and its delivery; `None` where `problems` say why.
fn read_one(
    index: usize,
    declared: &Declared,
    request: Request,
    (rules, freshness): (TargetRules, &Freshness<'_>),
    claims: &mut Claims<'_>,
    catalog: &mut Catalog<'_>,
    problems: &mut Problems,
) -> Option<(Secret, Delivery)> {
    check_name(declared, problems);
    let owner = owner(declared, problems);
    let mut reference = reference(declared, problems);
    let resolved = reference.as_mut().and_then(|(reference, place)| catalog.resolve(reference, place, problems));
    let is_list = resolved.as_ref().is_some_and(|resolved| resolved.is_list);
    let every = reference.as_ref().is_some_and(|(reference, _)| reference.selection == Selection::Every);
    let several = is_list || every;
    let target = match request {
        Request::File(name) => {
            let mode = declared.table.string("mode").and_then(handfast_core::keys::parse_mode);
            claims.file(declared, name, several, (mode.unwrap_or(rules.mode), owner), problems)
        }
        Request::Number(_) | Request::AnyNumber if several => {
            let place = declared.from.as_ref().map_or(&declared.place, |from| &from.place);
            let message =
                format!("the secret `{}` has several values, which can only be files", excerpt(&declared.name));
            let hint = match rules.files {
                true => "take `fd` out, or the variable whose name ends in `_FD`",
                false => "set a files directory: `--dir`, HANDFAST_DIR or `[files] dir`",
            };
            problems.add_with_hint(place, message, hint);
            return None;
        }
        Request::Number(number) => Target::Descriptor(number),
        Request::AnyNumber => claims.lowest(declared),
    };
    let (path_variables, number_variables) = claims.variables(declared, several, &target, problems);
    let on_change = freshness.on_change(declared, &target, problems);
    let (reference, resolved) = (reference?.0, resolved?);
    let refresh = freshness.refresh(declared, &reference, resolved.least_refresh, problems);
    let secret = Secret {
        name: declared.name.clone(),
        reference,
        instance: resolved.instance,
        optional: declared.table.boolean("optional").unwrap_or(false),
        is_list,
        refresh,
        may_issue: resolved.may_issue,
        may_end: resolved.may_end,
        on_change,
    };
    let name = declared.name.clone();
    Some((secret, Delivery { name, secret: index, target, path_variables, number_variables }))
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

/// A table as JSON, keys in order. Values that JSON does not have were reported before.
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

/// "uid:gid", both as numbers: `owner` is for users of other containers, whose names this image does not know.
fn owner(declared: &Declared, problems: &mut Problems) -> Option<(u32, u32)> {
    let text = declared.table.string("owner")?;
    if let Ok(UserName { user: Name::Number(uid), group: Some(Name::Number(gid)) }) = UserName::parse(text) {
        return Some((uid, gid));
    }
    let place = declared.table.place("owner").unwrap_or(&declared.place);
    problems.add(place, format!("`owner` is \"{}\", expected \"uid:gid\", two numbers", excerpt(text)));
    None
}

/// The target that a declaration asks for, before numbers are given out.
enum Request {
    Number(RawFd),
    AnyNumber,
    /// A file of this name, or of the usual one.
    File(Option<String>),
}

fn request(secret: &Declared, rules: TargetRules, problems: &mut Problems) -> Request {
    let (name, table) = (excerpt(&secret.name), &secret.table);
    let (file, descriptor) = (table.item("file"), table.item("fd"));
    let by_number = matches!(secret.variable, Some((_, Gives::Number)));
    if let Some(file) = file {
        if descriptor.is_some() {
            problems.add(&file.place, format!("the secret `{name}` has both `file` and `fd`"));
        }
        if !rules.files {
            let hint = "set `--dir`, HANDFAST_DIR or `[files] dir`, or take `file` out to get a descriptor";
            let message = format!("the secret `{name}` has `file`, and no files directory is set");
            problems.add_with_hint(&file.place, message, hint);
        }
        // A value that is no string has been reported.
        return Request::File(table.string("file").map(str::to_owned));
    }
    for key in ["mode", "owner"].into_iter().filter(|_| descriptor.is_some() || by_number) {
        if let Some(place) = table.place(key) {
            let message = format!("the secret `{name}` is a descriptor, which has no `{key}` of its own");
            problems.add_with_hint(place, message, format!("only files have one: take `{key}` out"));
        }
    }
    if let Some(command) = rules.only_files.filter(|_| descriptor.is_some() || by_number) {
        let place = descriptor.map_or(&secret.place, |item| &item.place);
        problems.add(place, format!("the secret `{name}` is a descriptor, and `{command}` hands none over"));
    }
    match descriptor.map(|item| (&item.value, &item.place)) {
        Some((Value::Integer(number), place)) => match RawFd::try_from(*number) {
            Ok(number) if (FIRST..END).contains(&number) => Request::Number(number),
            _ => {
                let last = END - 1;
                problems.add(place, format!("`fd` is {number}, expected \"auto\" or a number from {FIRST} to {last}"));
                Request::AnyNumber
            }
        },
        Some(_) => Request::AnyNumber,
        None if rules.files && !by_number => Request::File(None),
        // Without a directory; `init` has said that it has none.
        None => Request::AnyNumber,
    }
}
