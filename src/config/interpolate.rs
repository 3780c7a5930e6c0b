//! `${NAME}` and `${NAME:-default}` in settings; `$$` is `$`.
#![forbid(unsafe_code)]

use handfast_core::{Complaint, Item, Place, Problems, Table, Value, excerpt};
use zeroize::Zeroizing;

use crate::config::environment::{Environment, NotText};

/// The most bytes that variables may add to one string: no name, address or path is longer.
const MAX_STRING: usize = 64 << 10;

/// The most bytes that variables may add to the whole configuration.
const MAX_TOTAL: usize = 1 << 20;

/// The replacement of all variables of a configuration, with a bound.
pub struct Interpolation {
    /// The bytes that variables may still add.
    left: usize,
    /// Whether it has been reported that the bound is reached: once is enough.
    is_reported: bool,
}

/// Why the variables of a string could not be replaced.
enum Refusal {
    Wrong(Complaint),
    TooLong,
    NothingLeft,
}

impl Interpolation {
    /// An interpolation that has replaced nothing so far.
    pub fn new() -> Self {
        Self { left: MAX_TOTAL, is_reported: false }
    }

    /// Replaces the variables in every string of a table, at any depth.
    pub fn table(&mut self, table: &mut Table, environment: &Environment, problems: &mut Problems) {
        for Item { place, value } in table.items_mut() {
            self.replace(value, place, environment, problems);
        }
    }

    /// Replaces the variables in every string of a value. A string in which this fails is reported, and becomes [`Value::Wrong`].
    pub fn replace(&mut self, value: &mut Value, place: &Place, environment: &Environment, problems: &mut Problems) {
        match value {
            Value::String(text) if text.contains('$') => match self.string(text, environment) {
                Ok(replaced) => *text = Zeroizing::new(replaced),
                Err(refusal) => {
                    self.tell(refusal, place, problems);
                    *value = Value::Wrong;
                }
            },
            Value::Array(items) => {
                for Item { place, value } in items {
                    self.replace(value, place, environment, problems);
                }
            }
            Value::Table(inner) => self.table(inner, environment, problems),
            _ => {}
        }
    }

    fn tell(&mut self, refusal: Refusal, place: &Place, problems: &mut Problems) {
        match refusal {
            Refusal::Wrong(complaint) => problems.add(place, complaint),
            Refusal::TooLong => {
                let message = format!("its variables make it longer by more than {} KiB", MAX_STRING >> 10);
                problems.add_with_hint(place, message, "variables are for the short parts of a setting");
            }
            Refusal::NothingLeft if self.is_reported => {}
            Refusal::NothingLeft => {
                self.is_reported = true;
                let message = format!("variables make the configuration longer by more than {} MiB", MAX_TOTAL >> 20);
                problems.add_with_hint(place, message, "variables are for the short parts of settings");
            }
        }
    }

    /// Replaces the variables in one string. A `$` that starts neither `${` nor `$$` stands for itself.
    fn string(&mut self, text: &str, environment: &Environment) -> Result<String, Refusal> {
        let mut replaced = String::with_capacity(text.len());
        let mut put = 0;
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            replaced.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                replaced.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let unclosed = || Complaint::new("`${` without `}`").hint("`$$` stands for a dollar sign");
                let end = after.find('}').ok_or_else(unclosed).map_err(Refusal::Wrong)?;
                let value = variable(&after[..end], environment).map_err(Refusal::Wrong)?;
                put += value.len();
                if put > MAX_STRING {
                    return Err(Refusal::TooLong);
                }
                self.left = self.left.checked_sub(value.len()).ok_or(Refusal::NothingLeft)?;
                replaced.push_str(value);
                rest = &after[end + 1..];
            } else {
                replaced.push('$');
            }
        }
        Ok(replaced + rest)
    }
}

fn variable<'a>(expression: &'a str, environment: &'a Environment) -> Result<&'a str, Complaint> {
    let (name, default) = match expression.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (expression, None),
    };
    if !handfast_core::keys::is_variable(name) {
        // The text between the braces is not quoted: it is a part of the value, which may be a secret of `mock`.
        let hint = "write `${NAME}` or `${NAME:-default}`; `$$` stands for a dollar sign";
        return Err(Complaint::new("what stands between `${` and `}` is no variable's name").hint(hint));
    }
    let quoted = excerpt(name);
    if environment.is_credential(name) {
        let hint = "bootstrap credentials are read by their provider and go nowhere else";
        return Err(Complaint::new(format!("`${{{quoted}}}` is a bootstrap credential")).hint(hint));
    }
    match environment.text(name) {
        Err(NotText) => {
            Err(Complaint::new(format!("the variable `{quoted}` is not UTF-8")).hint("give it a value that is text"))
        }
        Ok(Some(value)) => Ok(value),
        Ok(None) => default.ok_or_else(|| {
            Complaint::new(format!("the variable `{quoted}` is not set, and has no default"))
                .hint(format!("set it, or write `${{{quoted}:-default}}`"))
        }),
    }
}
