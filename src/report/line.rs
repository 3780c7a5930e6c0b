//! One line: its text for people, its JSON for machines.
#![forbid(unsafe_code)]

use std::ops::RangeInclusive;
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
    /// How to fix the problem; in text, a line of its own.
    pub hint: Option<String>,
    suffix: String,
}

impl Line {
    /// A line that has only a message.
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

    /// The line of one of several failures.
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

    /// The line as one JSON object, its fields in the documented order.
    pub fn json(&self) -> String {
        let mut fields = vec![("level", json!(self.level))];
        fields.extend(self.fields.iter().cloned());
        fields.push(("message", json!(self.message)));
        fields.extend(self.hint.as_ref().map(|hint| ("hint", json!(hint))));
        let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        printable_json(&format!("{{{}}}", fields.join(",")))
    }

    /// The line as text for people.
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

    /// The line in at most `most` bytes. Long texts are cut before formatting, so that JSON stays valid and the exit code is
    /// kept.
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

/// Escapes the [`unseen`] characters of a text, so that no name in it can forge a line, drive a terminal, or look like another
/// name.
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            c if unseen(c) => clean.extend(c.escape_default()),
            c => clean.push(c),
        }
    }
    clean
}

/// The same for JSON, whose value does not change: outside of its strings, JSON has no such character but line breaks.
pub fn printable_json(json: &str) -> String {
    let mut clean = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            c if unseen(c) && c != '\n' => {
                clean.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
            }
            c => clean.push(c),
        }
    }
    clean
}

/// Whether a character is a control character, a line or paragraph separator, or a format character (Unicode's category Cf).
/// Format characters change the direction of the text around them, or are invisible.
fn unseen(character: char) -> bool {
    const FORMAT: &[RangeInclusive<char>] = &[
        '\u{ad}'..='\u{ad}',
        '\u{600}'..='\u{605}',
        '\u{61c}'..='\u{61c}',
        '\u{6dd}'..='\u{6dd}',
        '\u{70f}'..='\u{70f}',
        '\u{890}'..='\u{891}',
        '\u{8e2}'..='\u{8e2}',
        '\u{180e}'..='\u{180e}',
        '\u{200b}'..='\u{200f}',
        // Includes the two separators.
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{feff}'..='\u{feff}',
        '\u{fff9}'..='\u{fffb}',
        '\u{110bd}'..='\u{110bd}',
        '\u{110cd}'..='\u{110cd}',
        '\u{13430}'..='\u{1343f}',
        '\u{1bca0}'..='\u{1bca3}',
        '\u{1d173}'..='\u{1d17a}',
        '\u{e0000}'..='\u{e007f}',
    ];
    character.is_control() || FORMAT.iter().any(|range| range.contains(&character))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control character, a direction override, a separator and a tag; then visible characters: a letter with a mark, an emoji.
    const ODD: &str = "a\u{85}\u{202e}\u{2028}\u{e0041}e\u{301}\u{1f600}\"";

    #[test]
    fn what_is_not_seen_is_escaped_in_text() {
        assert_eq!(printable(ODD), "a\\u{85}\\u{202e}\\u{2028}\\u{e0041}e\u{301}\u{1f600}\"");
    }

    #[test]
    fn what_is_not_seen_is_escaped_in_json_and_stays_the_same_value() {
        let line = Line::plain("warn", ODD).json();
        assert!(line.contains("a\\u0085\\u202e\\u2028\\udb40\\udc41e\u{301}\u{1f600}\\\""), "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["message"], ODD);
    }
}
