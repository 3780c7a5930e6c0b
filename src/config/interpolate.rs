//! `${NAME}` and `${NAME:-default}` in settings; `$$` is `$`.
#![forbid(unsafe_code)]

use handfast_core::{Item, Place, Problems, Table, Value};
use zeroize::Zeroizing;

use crate::config::environment::{Environment, NotText};

/// Replaces the variables in every string of a table, at any depth.
pub fn table(table: &mut Table, environment: &Environment, problems: &mut Problems) {
    for Item { place, value } in table.items_mut() {
        replace(value, place, environment, problems);
    }
}

/// Replaces the variables in every string of a value. A string in which that fails is reported, and then [`Value::Wrong`].
pub fn replace(value: &mut Value, place: &Place, environment: &Environment, problems: &mut Problems) {
    match value {
        Value::String(text) if text.contains('$') => match string(text, environment) {
            Ok(replaced) => *text = Zeroizing::new(replaced),
            Err((message, hint)) => {
                problems.add_with_hint(place, message, hint);
                *value = Value::Wrong;
            }
        },
        Value::Array(items) => {
            items.iter_mut().for_each(|item| replace(&mut item.value, &item.place, environment, problems))
        }
        Value::Table(inner) => table(inner, environment, problems),
        _ => {}
    }
}

/// Replaces the variables in one string. A `$` that starts neither `${` nor `$$` stands for itself.
fn string(text: &str, environment: &Environment) -> Result<String, (String, String)> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        replaced.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            replaced.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after
                .find('}')
                .ok_or_else(|| ("`${` without `}`".to_owned(), "`$$` stands for a dollar sign".to_owned()))?;
            replaced.push_str(variable(&after[..end], environment)?);
            rest = &after[end + 1..];
        } else {
            replaced.push('$');
        }
    }
    Ok(replaced + rest)
}

fn variable<'a>(expression: &'a str, environment: &'a Environment) -> Result<&'a str, (String, String)> {
    let (name, default) = match expression.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (expression, None),
    };
    if !handfast_core::keys::is_variable(name) {
        // Not quoted: between the braces stands a part of the value, which is a secret where it is one of `mock`'s.
        let hint = "write `${NAME}` or `${NAME:-default}`; `$$` stands for a dollar sign";
        return Err(("what stands between `${` and `}` is no variable's name".into(), hint.into()));
    }
    if environment.is_credential(name) {
        let hint = "bootstrap credentials are read by their provider and go nowhere else";
        return Err((format!("`${{{name}}}` is a bootstrap credential"), hint.into()));
    }
    match environment.text(name) {
        Err(NotText) => Err((format!("the variable `{name}` is not UTF-8"), "give it a value that is text".into())),
        Ok(Some(value)) => Ok(value),
        Ok(None) => default.ok_or_else(|| {
            (
                format!("the variable `{name}` is not set, and has no default"),
                format!("set it, or write `${{{name}:-default}}`"),
            )
        }),
    }
}
