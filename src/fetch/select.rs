//! Selects the secret from a provider's answer: the whole value, a field, a JSON pointer or every field; then decodes it.
//!
//! The JSON text is not turned into a tree: the selected part is cut out of the text, and no error quotes it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeSliceError, Engine};
use handfast_core::{
    Content, Decode, ErrorKind, Fetched, MAX_SECRET, ProviderError, SecretRef, SecretValue, Selection, Term,
    compact_json, excerpt,
};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::outcome::{Failure, Outcome, Part};
use super::round::{Answer, Asked, Listed};
use crate::plan::Secret;

/// Selects each secret's part of an answer that these secrets share.
pub fn all(plan: &[Secret], secrets: &[usize], answer: &Answer) -> Vec<Outcome> {
    let select = |secret: usize| match answer {
        Answer::One(asked) => value(asked).and_then(|value| of_value(&plan[secret].reference, value)),
        Answer::List(Err(failure)) => Err(once_more(failure)),
        Answer::List(Ok(secrets)) => of_list(&plan[secret], secrets),
    };
    let term = match answer {
        Answer::One(asked) => term(asked),
        Answer::List(Ok(secrets)) => secrets.iter().filter_map(|(_, listed)| end(listed)).min().map(Term::Until),
        Answer::List(Err(_)) => None,
    };
    let (term, age) = (term.unwrap_or_default(), Duration::ZERO);
    secrets.iter().map(|&secret| Outcome { secret, result: select(secret), term, age }).collect()
}

fn term(asked: &Asked) -> Option<Term> {
    asked.get().and_then(|asked| asked.as_ref().ok()).map(|fetched| fetched.term)
}

/// In how long a member of a list ends. No member has a lease.
fn end(listed: &Listed) -> Option<Duration> {
    match listed {
        Listed::Asked(asked) => match term(asked) {
            Some(Term::Until(left)) => Some(left),
            _ => None,
        },
        Listed::Value(_) => None,
    }
}

/// Selects the members of a list. In an optional list, a member without the field is left out, and the others are delivered.
fn of_list(secret: &Secret, secrets: &[(String, Listed)]) -> Result<Vec<Part>, Failure> {
    let reference = &secret.reference;
    let mut all = Vec::new();
    let mut absent = None;
    for (name, listed) in secrets {
        let parts = match listed {
            Listed::Value(value) => of_value(reference, value),
            Listed::Asked(asked) => value(asked).and_then(|value| of_value(reference, value)),
        };
        // The failure names the member, because the reference names only the list.
        let parts = parts.map_err(|mut failure| {
            failure.error.message = format!("`{}`: {}", excerpt(name).escape_debug(), failure.error.message);
            failure
        });
        match parts {
            Ok(parts) => all.extend(parts.into_iter().map(|part| Part { name: Some(name.clone()), ..part })),
            Err(failure) if failure.is_absence(secret) => {
                tracing::info!(target: "handfast", "`{reference}` is without {}", failure.error);
                absent.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    absent.filter(|_| all.is_empty()).map_or(Ok(all), Err)
}

fn of_value(reference: &SecretRef, whole: &SecretValue) -> Result<Vec<Part>, Failure> {
    parts(reference, whole).map_err(|error| Failure { error, attempts: 1 })
}

fn value(asked: &Asked) -> Result<&SecretValue, Failure> {
    match asked.get() {
        Some(Ok(Fetched { content: Content::Value(value), .. })) => Ok(value),
        Some(Err(failure)) => Err(once_more(failure)),
        // The provider returned a list for a locator that is none, or no request was made.
        Some(Ok(_)) | None => {
            let error = ProviderError::new(ErrorKind::Malformed, "the provider gave no value");
            Err(Failure { error, attempts: 1 })
        }
    }
}

fn once_more(failure: &Failure) -> Failure {
    Failure { error: failure.error.once_more(), attempts: failure.attempts }
}

fn parts(reference: &SecretRef, whole: &SecretValue) -> Result<Vec<Part>, ProviderError> {
    let finish = |text: &[u8]| finish(text, reference);
    match &reference.selection {
        Selection::Whole => Ok(vec![Part { name: None, value: finish(whole.expose())? }]),
        Selection::Key(key) => {
            let object = Object::parse(json(whole)?)?;
            let raw = object.field(key).ok_or_else(|| object.no_field(key))?;
            warn_of_null(reference, None, raw);
            Ok(vec![Part { name: None, value: finish(text_of(raw)?.as_bytes())? }])
        }
        Selection::Pointer(pointer) => {
            let raw = point(json(whole)?, pointer)?;
            warn_of_null(reference, None, raw);
            Ok(vec![Part { name: None, value: finish(text_of(raw)?.as_bytes())? }])
        }
        Selection::Every => Object::parse(json(whole)?)?
            .0
            .iter()
            .map(|(key, raw)| {
                warn_of_null(reference, Some(key), raw);
                Ok(Part { name: Some(key.to_string()), value: finish(text_of(raw)?.as_bytes())? })
            })
            .collect(),
    }
}

/// Warns of a field that is `null`: an app would take the text `null` for a password.
fn warn_of_null(reference: &SecretRef, field: Option<&str>, raw: &RawValue) {
    if raw.get() != "null" {
        return;
    }
    let field = match field {
        Some(name) if is_name(name) => format!("its field `{name}`"),
        Some(_) => "one of its fields".to_owned(),
        None => "it".to_owned(),
    };
    tracing::warn!(target: "handfast", "`{reference}`: {field} is `null`, and the text `null` is delivered");
}

/// A JSON object's fields, each still as text.
struct Object<'v>(BTreeMap<String, &'v RawValue>);

impl<'v> Object<'v> {
    fn parse(text: &'v str) -> Result<Self, ProviderError> {
        serde_json::from_str(text).map_err(|error| not_json(&error))
    }

    fn field(&self, key: &str) -> Option<&'v RawValue> {
        self.0.get(key).copied()
    }

    /// The error for a missing field. It lists only texts that look like names, because some users put values there.
    fn no_field(&self, key: &str) -> ProviderError {
        const MOST: usize = 20;
        let names: Vec<&str> = self.0.keys().map(String::as_str).filter(|name| is_name(name)).collect();
        let error = ProviderError::new(ErrorKind::NotFound, format!("no field `{key}` among its {}", self.0.len()));
        let near = handfast_core::nearest(key, names.iter().copied()).map(|near| format!("did you mean `#{near}`? "));
        let shown = names.len().min(MOST);
        let listed = names[..shown].iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = match self.0.len() - shown {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        match shown {
            0 => error,
            _ => error.hint(format!("{}it has {listed}{more}", near.unwrap_or_default())),
        }
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, raw)) = map.next_entry()? {
                    if fields.insert(name, raw).is_some() {
                        return Err(serde::de::Error::custom("duplicate key"));
                    }
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Whether a message may contain a field's name.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

fn json(whole: &SecretValue) -> Result<&str, ProviderError> {
    std::str::from_utf8(whole.expose()).map_err(|error| {
        let message = format!("it is not JSON: byte {} is not UTF-8", error.valid_up_to() + 1);
        ProviderError::new(ErrorKind::Malformed, message).hint(NOT_JSON)
    })
}

const NOT_JSON: &str = "a field can be taken from a JSON object only; without `#…` the whole value is delivered";

/// The error with the position of the mistake and no part of the text: the library's own message may quote the value.
fn not_json(error: &serde_json::Error) -> ProviderError {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends early",
        serde_json::error::Category::Data => "it is no object, or has a key twice",
        _ => "wrong syntax",
    };
    let message = format!("it is not a JSON object: {what} at line {} column {}", error.line(), error.column());
    ProviderError::new(ErrorKind::Malformed, message).hint(NOT_JSON)
}

/// Follows a JSON pointer (RFC 6901).
fn point<'v>(text: &'v str, pointer: &str) -> Result<&'v RawValue, ProviderError> {
    let mut here: &RawValue = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let none = || ProviderError::new(ErrorKind::NotFound, format!("no value at `{pointer}`"));
        here = if here.get().starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(here.get()).map_err(|error| not_json(&error))?;
            let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|digit| digit.is_ascii_digit()));
            token.parse::<usize>().ok().filter(|_| plain).and_then(|at| items.get(at).copied()).ok_or_else(none)?
        } else if here.get().starts_with('{') {
            Object::parse(here.get())?.field(&token).ok_or_else(none)?
        } else {
            return Err(none());
        };
    }
    Ok(here)
}

/// A string as its text, anything else as compact JSON.
fn text_of(raw: &RawValue) -> Result<Zeroizing<String>, ProviderError> {
    if raw.get().starts_with('"') {
        return serde_json::from_str(raw.get()).map(Zeroizing::new).map_err(|error| not_json(&error));
    }
    Ok(compact_json(raw.get()))
}

/// The selected text, decoded and trimmed.
fn finish(text: &[u8], reference: &SecretRef) -> Result<SecretValue, ProviderError> {
    let trim = |text: &[u8]| SecretValue::from(if reference.trim { without_line_break(text) } else { text }.to_vec());
    let value = match reference.decode {
        Decode::AsIs => trim(text),
        Decode::Base64 => trim(base64(text)?.expose()),
    };
    if value.len() > MAX_SECRET {
        let message = format!("it is {} bytes long, more than {MAX_SECRET}", value.len());
        return Err(ProviderError::new(ErrorKind::Malformed, message));
    }
    Ok(value)
}

/// The text without one line break at its end, of Unix or of Windows.
fn without_line_break(text: &[u8]) -> &[u8] {
    let Some(line) = text.strip_suffix(b"\n") else { return text };
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn base64(text: &[u8]) -> Result<SecretValue, ProviderError> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let dense = Zeroizing::new(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<u8>>());
    let mut decoded = Zeroizing::new(vec![0; dense.len().div_ceil(4) * 3]);
    match GeneralPurpose::new(&STANDARD, LENIENT).decode_slice(&*dense, &mut decoded) {
        Ok(length) => {
            decoded.truncate(length);
            Ok(SecretValue::from(decoded))
        }
        Err(error) => {
            let why = match error {
                DecodeSliceError::DecodeError(base64::DecodeError::InvalidByte(at, _)) => {
                    format!("wrong character at byte {}", at + 1)
                }
                _ => format!("wrong length or padding, {} characters", dense.len()),
            };
            Err(ProviderError::new(ErrorKind::Malformed, format!("`decode=base64`: it is not base64: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(reference: &str, whole: &str) -> Result<Vec<(Option<String>, String)>, ProviderError> {
        let parts = parts(&SecretRef::parse(reference).unwrap(), &SecretValue::from(whole.as_bytes().to_vec()))?;
        let text = |value: SecretValue| String::from_utf8(value.expose().to_vec()).unwrap();
        Ok(parts.into_iter().map(|part| (part.name, text(part.value))).collect())
    }

    fn one(reference: &str, whole: &str) -> String {
        select(reference, whole).unwrap().remove(0).1
    }

    #[test]
    fn fields() {
        let whole = r#"{"p": "a\nb\u00e9\"", "n": 1.0, "big": 1e400, "o": { "x" : [1, " a\" b"] }, "t": true, "a/b": "s", "": "e"}"#;
        assert_eq!(one("mock:x#p", whole), "a\nbé\"");
        assert_eq!(one("mock:x#n", whole), "1.0");
        assert_eq!(one("mock:x#big", whole), "1e400");
        assert_eq!(one("mock:x#o", whole), r#"{"x":[1," a\" b"]}"#);
        assert_eq!(one("mock:x#/o/x/1", whole), " a\" b");
        assert_eq!(one("mock:x#/a~1b", whole), "s");
        assert_eq!(one("mock:x#/", whole), "e");
        assert_eq!(select("mock:x#*", whole).unwrap().len(), 7);
        assert_eq!(one("mock:x", "{"), "{");
    }

    #[test]
    fn the_time_that_a_value_takes_grows_with_its_length_alone() {
        let fields: String = (0..100_000).map(|at| format!(r#","{at:x}":1"#)).collect();
        let whole = format!("{{{}}}", &fields[1..]);
        let started = std::time::Instant::now();
        assert_eq!(one("mock:x#1869f", &whole), "1");
        assert_eq!(select("mock:x#*", &whole).unwrap().len(), 100_000);
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    }

    #[test]
    fn what_is_missing_is_not_found() {
        for reference in ["mock:x#b", "mock:x#/b", "mock:x#/a/0", "mock:x#/l/01", "mock:x#/l/2", "mock:x#/l/-"] {
            assert_eq!(select(reference, r#"{"a":"1","l":[1]}"#).unwrap_err().kind, ErrorKind::NotFound, "{reference}");
        }
        assert_eq!(
            select("mock:x#passwrod", r#"{"password":"1"}"#).unwrap_err().hint.unwrap(),
            "did you mean `#password`? it has `password`"
        );
    }

    #[test]
    fn the_names_that_are_there_are_told_where_they_look_like_names() {
        let hint = |whole: &str| select("mock:x#key", whole).unwrap_err().hint;
        assert_eq!(hint(r#"{"z.9_-":"1","A":"2"}"#).unwrap(), "it has `A`, `z.9_-`");
        let long = format!(r#"{{"{}":1,"{}":1}}"#, "l".repeat(64), "m".repeat(65));
        assert_eq!(hint(&long).unwrap(), format!("it has `{}`, and 1 more", "l".repeat(64)));
        assert_eq!(hint(r#"{"hunter2 ":"1","":"2","hunter\u00fc":3,"a/b":4}"#), None);
        assert_eq!(hint("{}"), None);
        let many: Vec<String> = (10..90).map(|at| format!(r#""n{at}":1"#)).collect();
        let hint = hint(&format!("{{{}}}", many.join(","))).unwrap();
        assert!(hint.starts_with("it has `n10`, `n11`, ") && hint.ends_with(", `n29`, and 60 more"), "{hint}");
    }

    #[test]
    fn malformed_json_is_never_quoted() {
        let deep = "[".repeat(100_000);
        let deeper = format!(r#"{{"a":{}"#, "{\"a\":".repeat(100_000));
        for whole in [
            "hunter2",
            "\"hunter2\"",
            "12345",
            "{\"hunter2\"",
            r#"{"a":"hunter2","a":"hunter2"}"#,
            "\u{feff}{}",
            r#"{"a":hunter2}"#,
            r#"{"a":1} hunter2"#,
            &deep,
            &deeper,
        ] {
            let error = select("mock:x#a", whole).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Malformed, "{}", &whole[..whole.len().min(20)]);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn one_line_break_at_the_end_is_trimmed_where_asked() {
        for (whole, trimmed) in
            [("", ""), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), ("\na ", "\na ")]
        {
            assert_eq!(one("mock:x?trim=newline", whole), trimmed, "{whole:?}");
            assert_eq!(one("mock:x", whole), whole);
        }
        assert_eq!(one("mock:x?trim=newline#*", r#"{"a":"1\n"}"#), "1");
        assert_eq!(one("mock:x?decode=base64&trim=newline#b", r#"{"b":"Mgo="}"#), "2");
    }

    #[test]
    fn base64_is_decoded() {
        assert_eq!(one("mock:x?decode=base64", "aGk="), "hi");
        assert_eq!(one("mock:x?decode=base64", "aGk"), "hi");
        assert_eq!(one("mock:x?decode=base64#a", r#"{"a":"aG\nk=\n"}"#), "hi");
        assert_eq!(one("mock:x?decode=base64", ""), "");
        for whole in ["a", "aGk!", "aG=k", "_-_-"] {
            let error = select("mock:x?decode=base64", whole).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Malformed);
            assert!(!error.message.contains(whole) || whole == "a");
        }
    }
}
