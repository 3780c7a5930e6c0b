//! Tests of a provider's definition, and of the references that it refuses before it opens anything.

use std::collections::BTreeSet;

use handfast_core::keys::{Key, Kind};
use handfast_core::{Complaint, Definition, OWN_PARAMETERS, Problems, keys};

use crate::fixture::{Fixture, configure, parse, possible, table, text};

/// handfast derives the documentation, the schema and the messages from the definition.
pub fn the_definition_is_complete<F: Fixture>() {
    let Definition { name, keys, parameters, bootstrap, .. } = F::DEFINITION;
    assert!(is_name(name, '-'), "`{name}` is no name for a provider");
    for key in *keys {
        is_documented(key);
    }
    for parameter in *parameters {
        assert!(is_name(parameter, '-') && !OWN_PARAMETERS.contains(parameter), "`{parameter}` is no key for a query");
    }
    for variable in *bootstrap {
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(!variable.is_empty() && variable.bytes().all(plain), "`{variable}` is no vendor's variable");
    }
    assert_distinct(keys.iter().map(|key| key.name));
    assert_distinct(parameters.iter().copied());
    assert_distinct(bootstrap.iter().copied());
}

/// `handfast check` must find bad references without a store, and a start must not fetch anything before it has checked all
/// references.
pub fn bad_references_are_refused_before_anything_is_opened<F: Fixture>() {
    let mut fixture = F::new();
    let good = fixture.put("good", b"good");
    let configured = configure(F::DEFINITION, fixture.settings(), &fixture.outside());
    if let Ok(good) = good {
        assert_eq!(configured.check(&parse(&good).locator), Ok(()), "`{good}` is right");
    }
    for reference in possible(fixture.bad_references()).unwrap_or_default() {
        let Err(Complaint { message, hint }) = configured.check(&parse(reference).locator) else {
            panic!("`{reference}` is not refused");
        };
        let has_hint = hint.is_some_and(|hint| !hint.is_empty());
        assert!(!message.is_empty() && has_hint, "`{reference}` is refused without a message and a hint");
    }
}

fn is_documented(key: &Key) {
    let Key { name, kind, doc, default } = key;
    assert!(is_name(name, '_'), "`{name}` is no name for a key");
    // handfast defines the keys that every provider has.
    assert!(!["type", "ca_file", "roots"].contains(name), "`{name}` is a key of every provider");
    if matches!(kind, Kind::NotInThisVersion) {
        return;
    }
    let sentence = doc.ends_with('.') && !doc.starts_with(char::is_lowercase) && !doc.contains('\n');
    assert!(sentence, "the documentation of `{name}` is no sentence: {doc}");
    if let Kind::Choice(choices) = kind {
        assert!(choices.len() > 1, "`{name}` has only one choice");
        assert_distinct(choices.iter().copied());
    }
    if let (Some(default), Kind::Duration | Kind::Size | Kind::Mode | Kind::Choice(_)) = (default, kind) {
        let mut problems = Problems::default();
        let settings = table([(*name, text(default.trim_matches('"')))]);
        keys::check(&settings, "providers.default", &[std::slice::from_ref(key)], &mut problems);
        assert!(problems.is_empty(), "the default of `{name}` is not one of its values: {default}");
    }
}

/// Whether a name has only lower-case letters and digits, joined by this character.
fn is_name(name: &str, joint: char) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with(joint)
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint)
}

fn assert_distinct<'a>(names: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for name in names {
        assert!(seen.insert(name), "`{name}` is there twice");
    }
}
