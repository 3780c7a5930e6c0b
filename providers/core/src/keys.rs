//! Keys as data: handfast derives the checks, the messages, the JSON schema and the documentation from one table of keys.

use crate::complaint::Complaint;
use crate::problem::{Problems, did_you_mean, excerpt};
use crate::settings::{Item, Table, Value};
use crate::units::{MAX_STRINGS, SIZES};

pub use crate::units::{parse_duration, parse_mode, parse_size};

/// One key of a table.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: Kind,
    /// Its effect, in one sentence.
    pub doc: &'static str,
    /// The default value, as a user would write it.
    pub default: Option<&'static str>,
}

/// The kind of a key's value.
pub enum Kind {
    /// Any string.
    String,
    /// A string that is not empty.
    Text,
    /// `true` or `false`.
    Boolean,
    /// An integer from the first number to the second.
    Integer(i64, i64),
    /// A duration: `"500ms"`, `"10s"`, `"1m 30s"`.
    Duration,
    /// A size in bytes: `"64KiB"`, `"1MiB"`, or an integer.
    Size,
    /// A file mode in octal: `"0400"`.
    Mode,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// An array of strings.
    Strings,
    /// An array of integers from the first to the second.
    Integers(i64, i64),
    /// A table of strings under any keys.
    StringTable,
    /// A table with keys of its own.
    Table(&'static [Key]),
    /// A table of any JSON values except floats and `null`.
    Json,
    /// The name of a variable that holds a credential. The variable then counts as a bootstrap credential.
    CredentialVariable,
    /// `"auto"` or an integer.
    Descriptor,
    /// A planned key that this version does not have: refused by name, absent from the schema.
    NotInThisVersion,
}

impl Key {
    /// A key without a default.
    pub const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, doc, default: None }
    }

    /// Adds the default value.
    pub const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    /// A planned key that this version does not have.
    pub const fn later(name: &'static str) -> Self {
        Self::new(name, Kind::NotInThisVersion, "")
    }
}

/// Checks a table: finds unknown keys, wrong types and wrong values. `table_name` is as in `[app]`.
pub fn check(table: &Table, table_name: &str, keys: &[&[Key]], problems: &mut Problems) {
    for ((name, item), (_, place)) in table.iter().zip(table.keys()) {
        if matches!(item.value, Value::Wrong) {
            continue;
        }
        match keys.iter().copied().flatten().find(|key| key.name == name) {
            Some(Key { kind: Kind::Table(keys), .. }) => match &item.value {
                Value::Table(inner) => check(inner, &format!("{table_name}.{name}"), &[keys], problems),
                other => problems.add(&item.place, format!("`{name}` is {}, expected a table", other.describe())),
            },
            Some(key) => check_value(name, item, &key.kind, problems),
            None => {
                let known = || {
                    keys.iter()
                        .copied()
                        .flatten()
                        .filter(|key| !matches!(key.kind, Kind::NotInThisVersion))
                        .map(|key| key.name)
                };
                problems.add_lazily(place, || {
                    let hint = did_you_mean(name, known())
                        .unwrap_or_else(|| format!("[{table_name}] takes: {}", known().collect::<Vec<_>>().join(", ")));
                    Complaint::new(format!("unknown key `{}` in [{table_name}]", excerpt(name))).hint(hint)
                });
            }
        }
    }
}

fn check_value(name: &str, item: &Item, kind: &Kind, problems: &mut Problems) {
    let mut wrong = |expected: String| {
        let found = match &item.value {
            // A wrong value is quoted only for kinds with a fixed form. For other kinds, it could be any text, such as a secret
            // in the wrong place.
            Value::String(text)
                if !matches!(
                    kind,
                    Kind::Strings | Kind::StringTable | Kind::Boolean | Kind::CredentialVariable | Kind::Json
                ) =>
            {
                format!("\"{}\"", excerpt(text))
            }
            Value::Integer(number) if !matches!(kind, Kind::StringTable) => number.to_string(),
            other => other.describe().to_owned(),
        };
        problems.add(&item.place, format!("`{name}` is {found}, expected {expected}"));
    };
    match (kind, &item.value) {
        (_, Value::Wrong) => {}
        (Kind::String, Value::String(_)) | (Kind::Boolean, Value::Boolean(_)) => {}
        // An unset variable in the configuration, such as `"${ROLE_ID:-}"`, becomes an empty string.
        (Kind::Text, Value::String(text)) if text.is_empty() => {
            problems.add_with_hint(&item.place, format!("`{name}` is empty"), "give it a value, or leave it out");
        }
        (Kind::Text, Value::String(_)) => {}
        (Kind::String | Kind::Text, _) => wrong("a string".into()),
        (Kind::Boolean, _) => wrong("true or false".into()),
        (Kind::Integer(least, most), Value::Integer(number)) if (least..=most).contains(&number) => {}
        (Kind::Integer(least, most), _) => wrong(format!("an integer from {least} to {most}")),
        (Kind::Duration, Value::String(text)) if parse_duration(text).is_some() => {}
        (Kind::Duration, _) => wrong("a duration such as \"500ms\", \"10s\" or \"1m 30s\"".into()),
        (Kind::Size, Value::String(text)) if parse_size(text).is_some() => {}
        (Kind::Size, Value::Integer(bytes)) if u64::try_from(*bytes).is_ok_and(|bytes| SIZES.contains(&bytes)) => {}
        (Kind::Size, _) => wrong("a size such as \"64KiB\" or \"1MiB\"".into()),
        (Kind::Mode, Value::String(text)) if parse_mode(text).is_some() => {}
        (Kind::Mode, _) => wrong(
            "a file mode in octal, such as \"0400\": readable, not executable, and not writable by everybody".into(),
        ),
        (Kind::Choice(choices), Value::String(text)) if choices.contains(&text.as_str()) => {}
        (Kind::Choice(choices), _) => {
            wrong(choices.iter().map(|choice| format!("\"{choice}\"")).collect::<Vec<_>>().join(" or "));
        }
        (Kind::Strings, Value::Array(items)) if items.len() > MAX_STRINGS => {
            problems.add(&item.place, format!("`{name}` has {} strings, expected {MAX_STRINGS} at most", items.len()));
        }
        (Kind::Strings, Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                check_value(&format!("{name}[{at}]"), item, &Kind::String, problems);
            }
        }
        (Kind::Strings, _) => wrong("an array of strings".into()),
        (Kind::Integers(..), Value::Array(items)) if items.len() > MAX_STRINGS => {
            problems.add(&item.place, format!("`{name}` has {} numbers, expected {MAX_STRINGS} at most", items.len()));
        }
        (Kind::Integers(least, most), Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                check_value(&format!("{name}[{at}]"), item, &Kind::Integer(*least, *most), problems);
            }
        }
        (Kind::Integers(..), _) => wrong("an array of integers".into()),
        (Kind::StringTable, Value::Table(table)) => {
            for (key, item) in table.iter() {
                if !matches!(item.value, Value::String(_) | Value::Wrong) {
                    let message = format!("`{name}.{}` is {}, expected a string", excerpt(key), item.value.describe());
                    problems.add(&item.place, message);
                }
            }
        }
        (Kind::StringTable, _) => wrong("a table of strings".into()),
        // The message does not quote the text: a text that is not a variable's name may be the credential itself.
        (Kind::CredentialVariable, Value::String(text)) if is_variable(text) => {}
        (Kind::CredentialVariable, _) => wrong("the name of a variable, such as \"MY_TOKEN\"".into()),
        (Kind::Json, Value::Table(table)) => {
            for (key, item) in table.iter() {
                check_json(&format!("{name}.{}", excerpt(key)), item, problems);
            }
        }
        (Kind::Json, _) => wrong("a table".into()),
        // `check` has already handled the inner table.
        (Kind::Table(_), _) => {}
        (Kind::Descriptor, Value::Integer(_)) => {}
        (Kind::Descriptor, Value::String(text)) if text.as_str() == "auto" => {}
        (Kind::Descriptor, _) => wrong("\"auto\" or a descriptor's number".into()),
        (Kind::NotInThisVersion, _) => problems.add(&item.place, format!("`{name}` is not in this version")),
    }
}

fn check_json(name: &str, item: &Item, problems: &mut Problems) {
    match &item.value {
        Value::Float | Value::Datetime => {
            let message = format!("`{name}` is {}, expected a string, an integer or a boolean", item.value.describe());
            problems.add_with_hint(&item.place, message, "write it as a string");
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, item)| check_json(&format!("{}[{at}]", excerpt(name)), item, problems));
        }
        Value::Table(table) => {
            table
                .iter()
                .for_each(|(key, item)| check_json(&format!("{}.{}", excerpt(name), excerpt(key)), item, problems));
        }
        Value::String(_) | Value::Integer(_) | Value::Boolean(_) | Value::Wrong => {}
    }
}

/// Whether a text can be the name of a shell variable.
pub fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
