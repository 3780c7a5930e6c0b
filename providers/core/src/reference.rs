//! References: `<provider>:<locator>[?key=value[&key=value]…][#field]`.

use std::fmt;

use crate::complaint::Complaint;
use crate::problem::excerpt;

/// The most bytes of a reference: messages quote it, and no store has longer names.
const MAX_REFERENCE: usize = 16 << 10;

/// The most keys of a query: a provider takes only a few.
const MAX_PARAMETERS: usize = 32;

/// The query's keys that handfast itself reads, for every provider.
pub const OWN_PARAMETERS: [&str; 2] = ["decode", "trim"];

/// A parsed reference to a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    text: String,
    /// The provider instance: the name of a table in `[providers]`, or a built-in name.
    pub provider: String,
    /// The locator that the provider gets.
    pub locator: Locator,
    /// The part of the answer that is the secret.
    pub selection: Selection,
    /// How the selected text is decoded.
    pub decode: Decode,
    /// `?trim=newline`: one line break at the end of the decoded text is left out.
    pub trim: bool,
}

/// The secret to fetch from a provider. Two secrets with the same locator need only one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator {
    /// The part between the provider's `:` and the first `?` or `#`, with `%3F`, `%23` and `%25` decoded.
    pub path: String,
    /// The query's keys and values in order of key, without those that handfast itself reads ([`OWN_PARAMETERS`]).
    pub parameters: Vec<(String, String)>,
    /// `params` of `[secrets.NAME]`, which make the request a write: a JSON object, compact, keys in order.
    pub params: Option<String>,
}

/// The part of the provider's answer that is the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The whole value, byte for byte.
    Whole,
    /// `#field`: a top-level key of a JSON object.
    Key(String),
    /// `#/a/b`: a JSON pointer (RFC 6901).
    Pointer(String),
    /// `#*`: every top-level key, one file each.
    Every,
}

/// How the selected text is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    /// Not at all.
    AsIs,
    /// `?decode=base64` (RFC 4648, section 4; white space is skipped, padding may be missing).
    Base64,
}

impl SecretRef {
    /// Reads a reference.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        const EXPECTED: &str = "a reference is `<provider>:<locator>[?key=value][#field]`, such as `mock:db#password`";
        if text.len() > MAX_REFERENCE {
            let message =
                format!("`{}` is a reference of {} bytes, more than {MAX_REFERENCE}", excerpt(text), text.len());
            return Err(Complaint::new(message).hint(EXPECTED));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(
                Complaint::new(format!("`{}` has a control character, {control:?}", excerpt(text))).hint(EXPECTED)
            );
        }
        let Some((provider, rest)) = text.split_once(':') else {
            return Err(Complaint::new(format!("`{}` is not a reference: it has no `:`", excerpt(text))).hint(EXPECTED));
        };
        if provider.is_empty() || !provider.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(Complaint::new(format!("`{}` is not a provider's name", excerpt(provider))).hint(EXPECTED));
        }
        let (rest, field) = match rest.split_once('#') {
            Some((rest, field)) => (rest, Some(field)),
            None => (rest, None),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(Complaint::new(format!("`{text}` names no secret: nothing stands between `:` and its end"))
                .hint(EXPECTED));
        }
        let Query { parameters, decode, trim } = parse_query(text, query)?;
        let selection = match field {
            None => Selection::Whole,
            Some("") => {
                return Err(Complaint::new(format!("`{text}` has an empty field"))
                    .hint("`#field` is a key, `#/a/b` a JSON pointer, `#*` every key"));
            }
            Some("*") => Selection::Every,
            Some(pointer) if pointer.starts_with('/') => {
                // RFC 6901 has no other escape: a pointer with another one could never find a field.
                if pointer.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
                    return Err(Complaint::new(format!("`{text}` has a `~` in its JSON pointer that is no escape"))
                        .hint("in a JSON pointer, `~0` stands for `~`, and `~1` for `/`"));
                }
                Selection::Pointer(pointer.into())
            }
            Some(key) => Selection::Key(key.into()),
        };
        Ok(Self {
            text: text.into(),
            provider: provider.into(),
            locator: Locator { path: decode_path(path), parameters, params: None },
            selection,
            decode,
            trim,
        })
    }
}

impl fmt::Display for SecretRef {
    /// The reference as it was written, after interpolation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Locator {
    /// The value of one of the query's keys.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// A reference's query.
struct Query {
    /// For the provider.
    parameters: Vec<(String, String)>,
    decode: Decode,
    trim: bool,
}

fn parse_query(text: &str, query: Option<&str>) -> Result<Query, Complaint> {
    const EXPECTED: &str = "a query is `?key=value`, several are joined with `&`";
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let Some((key, value)) = pair.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty())
        else {
            return Err(
                Complaint::new(format!("`{text}` has `{pair}` in its query, which is not `key=value`")).hint(EXPECTED)
            );
        };
        if seen.len() >= MAX_PARAMETERS {
            return Err(
                Complaint::new(format!("`{text}` has more than {MAX_PARAMETERS} keys in its query")).hint(EXPECTED)
            );
        }
        if seen.iter().any(|(known, _)| *known == key) {
            return Err(Complaint::new(format!("`{text}` gives `{key}` twice")).hint(EXPECTED));
        }
        let only = match key {
            "decode" => "base64",
            "trim" => "newline",
            _ => value,
        };
        if value != only {
            return Err(Complaint::new(format!("`{text}` asks for `{key}={value}`"))
                .hint(format!("only `{key}={only}` exists")));
        }
        seen.push((key, value));
    }
    let has = |key: &str| seen.iter().any(|(name, _)| *name == key);
    let decode = if has("decode") { Decode::Base64 } else { Decode::AsIs };
    let trim = has("trim");
    seen.retain(|(key, _)| !OWN_PARAMETERS.contains(key));
    seen.sort_unstable();
    let parameters = seen.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok(Query { parameters, decode, trim })
}

/// Decodes only `%3F`, `%23` and `%25`: a store's names may contain any other per cent sign.
fn decode_path(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        decoded.push_str(before);
        let (character, length) = match from.get(1..3).map(str::to_ascii_uppercase).as_deref() {
            Some("3F") => ('?', 3),
            Some("23") => ('#', 3),
            Some("25") => ('%', 3),
            _ => ('%', 1),
        };
        decoded.push(character);
        rest = &from[length..];
    }
    decoded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> SecretRef {
        SecretRef::parse(text).unwrap()
    }

    #[test]
    fn a_locator_ends_at_the_first_question_mark_or_hash() {
        let reference = parsed("vault:kv/web/db?version=3&decode=base64#pass?word#x");
        assert_eq!(reference.locator.path, "kv/web/db");
        assert_eq!(reference.locator.parameter("version"), Some("3"));
        assert_eq!(reference.decode, Decode::Base64);
        assert_eq!(reference.selection, Selection::Key("pass?word#x".into()));
    }

    #[test]
    fn the_provider_does_not_get_the_parameters_that_handfast_reads() {
        let reference = parsed("vault:kv/web/db?trim=newline&version=3&decode=base64");
        assert_eq!(reference.locator.parameters, [("version".to_owned(), "3".to_owned())]);
        assert!(reference.trim && !parsed("vault:kv/web/db?version=3").trim);
        assert_eq!(reference.locator, parsed("vault:kv/web/db?version=3").locator);
    }

    #[test]
    fn only_three_escapes_are_decoded() {
        assert_eq!(parsed("file:/a%3Fb%23c%25d%20e%3fz%").locator.path, "/a?b#c%d%20e?z%");
        assert_eq!(parsed("file:/é%2").locator.path, "/é%2");
        assert_eq!(parsed("file:/%é").locator.path, "/%é");
    }

    #[test]
    fn selections() {
        assert_eq!(parsed("mock:db").selection, Selection::Whole);
        assert_eq!(parsed("mock:db#/a/b").selection, Selection::Pointer("/a/b".into()));
        assert_eq!(parsed("mock:db#/~0/~1~01").selection, Selection::Pointer("/~0/~1~01".into()));
        assert_eq!(parsed("mock:db#a~b").selection, Selection::Key("a~b".into()));
        assert_eq!(parsed("mock:db#*").selection, Selection::Every);
        assert_eq!(parsed("aws:sm/arn:aws:x").locator.path, "sm/arn:aws:x");
    }

    #[test]
    fn bad_references_are_refused() {
        for text in [
            "",
            "db",
            ":db",
            "mock:",
            "mock:#a",
            "mock:db#",
            "mock:db?",
            "mock:db?a",
            "mock:db?a=",
            "mock:db?=a",
            "mock:db?a=1&a=2",
            "mock:db?decode=hex",
            "mo ck:db",
            "mock:d\nb",
            "mock:d\0b",
            "mock:db?decode=base64&decode=base64",
            "mock:db?trim=newlines",
            "mock:db?trim=newline&trim=newline",
            "mock:db#/~",
            "mock:db#/a~2b",
            "mock:db#/a~/b",
        ] {
            assert!(SecretRef::parse(text).is_err(), "{text:?}");
        }
    }
}
