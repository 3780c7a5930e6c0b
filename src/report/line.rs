//! One line: its text for people, its JSON for machines.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Value, json};

use super::Format;
use crate::error::Error;

/// A line before it is text or JSON.
#[derive(Clone)]
pub struct Line {
    level: &'static str,
    fields: Vec<(&'static str, Value)>,
    message: String,
    /// What to do about it: in text a line of its own.
    pub hint: Option<String>,
    suffix: String,
}

impl Line {
    /// A line that is nothing but its message.
    pub fn plain(level: &'static str, message: &str) -> Self {
        Self { level, fields: Vec::new(), message: message.to_owned(), hint: None, suffix: String::new() }
    }

    /// The last line of a failed start.
    pub fn last(error: &Error, elapsed: Duration) -> Self {
        let (class, exit) = (error.class.name(), error.class.exit_code());
        let mut line = Self::plain("error", &error.message);
        line.suffix = format!(" ({class}, exit {exit})");
        line.hint.clone_from(&error.hint);
        let fields = &mut line.fields;
        fields.push(("exit", json!(exit)));
        fields.push(("class", json!(class)));
        fields.push(("phase", json!(error.phase.name())));
        if let Some(subject) = &error.subject {
            fields.push(("provider", json!(subject.provider)));
            fields.push(("reference", json!(subject.reference)));
            fields.push(("attempts", json!(subject.attempts)));
        }
        fields.push(("elapsed_ms", json!(elapsed.as_millis() as u64)));
        line
    }

    /// One of several failures.
    pub fn part(error: &Error) -> Self {
        let mut line = Self::plain("error", &error.message);
        line.hint.clone_from(&error.hint);
        if let Some(subject) = &error.subject {
            line.fields.push(("class", json!(error.class.name())));
            line.fields.push(("provider", json!(subject.provider)));
            line.fields.push(("reference", json!(subject.reference)));
            line.fields.push(("attempts", json!(subject.attempts)));
        }
        line
    }

    /// One object, its fields in the order of the contract.
    pub fn json(&self) -> String {
        let mut fields = vec![("level", json!(self.level))];
        fields.extend(self.fields.iter().cloned());
        fields.push(("message", json!(self.message)));
        fields.extend(self.hint.as_ref().map(|hint| ("hint", json!(hint))));
        let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }

    /// Text for people.
    pub fn text(&self, color: bool) -> String {
        let (start, end) = match (color, self.level) {
            (true, "error") => ("\x1b[31m", "\x1b[0m"),
            (true, "warn") => ("\x1b[33m", "\x1b[0m"),
            _ => ("", ""),
        };
        format!("handfast: {start}{}{end}: {}{}", self.level, printable(&self.message), self.suffix)
    }

    /// The line as the worker sends it to the privileged process.
    pub fn relayed(&self) -> String {
        let letter = self.level.get(..1).unwrap_or_default();
        format!("{letter}{}{}", printable(&self.message), self.suffix)
    }

    /// The line in at most `most` bytes. What a user's text makes long is cut, so that JSON stays JSON and the exit code stays.
    pub fn within(&self, most: usize, format: Format) -> String {
        let mut longest = most;
        loop {
            let short = self.cut(longest);
            let line = match format {
                Format::Json => short.json(),
                Format::Text => short.text(false),
            };
            if line.len() <= most || longest == 0 {
                return line;
            }
            longest /= 2;
        }
    }

    fn cut(&self, longest: usize) -> Self {
        let mut line = self.clone();
        let fields = line.fields.iter_mut().filter_map(|(_, value)| match value {
            Value::String(text) => Some(text),
            _ => None,
        });
        for text in fields.chain([&mut line.message]).chain(&mut line.hint) {
            if text.len() > longest {
                text.truncate(text.floor_char_boundary(longest));
                text.push('…');
            }
        }
        line
    }
}

/// Control characters escaped, so that no name can forge a line or drive a terminal.
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            c if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c) => {
                clean.extend(c.escape_default())
            }
            c => clean.push(c),
        }
    }
    clean
}
