//! The environment: handfast's own settings, references in variables, and the variables that the app inherits.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use handfast_core::{MAX_REPORTED, Place, Problems, SecretValue, excerpt};

use crate::config::bootstrap;
use crate::sys::environment::{Captured, Entry};

/// The prefix of a variable's value that is a reference.
const MARK: &str = "handfast:";

/// The environment that handfast was started with.
pub struct Environment {
    captured: Captured,
    /// The first entry of each name. An index, because a configuration may ask for thousands of variables.
    index: HashMap<OsString, usize>,
}

/// The error for a variable whose value is not UTF-8.
#[derive(Debug)]
pub struct NotText;

/// A reference in a variable.
#[derive(Debug, PartialEq, Eq)]
pub struct VariableReference {
    /// The variable.
    pub variable: String,
    /// The secret's name: the variable's name without its suffix, in lower case, with `-` for `_`.
    pub secret: String,
    /// The value that the variable gets for the app.
    pub gives: Gives,
    /// The reference, without `handfast:`.
    pub reference: String,
}

/// The value that a variable gets, by the suffix of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// `_FILE`, `_PATH`: the path of the secret's file.
    Path,
    /// `_FD`: the descriptor's number.
    Number,
}

impl From<Captured> for Environment {
    fn from(captured: Captured) -> Self {
        let mut index = HashMap::with_capacity(captured.entries.len());
        for (at, entry) in captured.entries.iter().enumerate() {
            let name = match entry {
                Entry::Variable(name, _) => name.as_os_str(),
                Entry::Credential(name, _) => OsStr::new(name),
                Entry::Other(_) => continue,
            };
            index.entry(name.to_owned()).or_insert(at);
        }
        Self { captured, index }
    }
}

impl Environment {
    /// The value of a variable that holds no credential, as text. An empty value counts as unset. `Err` if the value is not
    /// UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, NotText> {
        match self.raw(name) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).ok_or(NotText),
        }
    }

    /// A variable that holds no credential, without the white space around it: files of variables end with a line break, or with a
    /// carriage return. An empty one counts as unset.
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        let Some(Entry::Variable(_, value)) = self.entry(name) else { return None };
        let value = value.as_bytes().trim_ascii();
        (!value.is_empty()).then(|| OsStr::from_bytes(value))
    }

    /// Whether a variable holds a bootstrap credential.
    pub fn is_credential(&self, name: &str) -> bool {
        bootstrap::is_credential(name.as_bytes()) || matches!(self.entry(name), Some(Entry::Credential(..)))
    }

    /// Turns these variables into bootstrap credentials, because the configuration names them as credentials.
    pub fn take_credentials<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let is_variable = |name: &&str| matches!(self.entry(name), Some(Entry::Variable(..)));
        let names: BTreeSet<&[u8]> = names.filter(is_variable).map(str::as_bytes).collect();
        if !names.is_empty() {
            self.captured.take_credentials(&names);
        }
    }

    /// The first entry of this name.
    fn entry(&self, name: &str) -> Option<&Entry> {
        self.captured.entries.get(*self.index.get(OsStr::new(name))?)
    }

    fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.captured.entries.iter().filter_map(|entry| match entry {
            Entry::Variable(name, value) => Some((name.as_os_str(), value.as_os_str())),
            Entry::Credential(..) | Entry::Other(_) => None,
        })
    }

    fn credentials(&self) -> impl Iterator<Item = (&str, &SecretValue)> {
        self.captured.entries.iter().filter_map(|entry| match entry {
            Entry::Credential(name, value) => Some((name.as_str(), value)),
            Entry::Variable(..) | Entry::Other(_) => None,
        })
    }

    /// The references in variables. A value that does not start with `handfast:` is for the app.
    pub fn references(&self, problems: &mut Problems) -> Vec<VariableReference> {
        let mut references: Vec<VariableReference> = Vec::new();
        let mut by_secret = BTreeMap::new();
        for (name, value) in self.credentials() {
            if value.expose().starts_with(MARK.as_bytes()) {
                let name = excerpt(name);
                let message = format!("`{name}` holds a reference, but it is read as a bootstrap credential");
                let hint = "a provider's own credential cannot come from a provider: give its value, or a file of it";
                problems.add_with_hint(&Place::Environment, message, hint);
            }
        }
        for (name, value) in self.variables() {
            let Some(rest) = value.as_bytes().strip_prefix(MARK.as_bytes()) else { continue };
            let variable = name.to_string_lossy();
            let quoted = excerpt(&variable);
            let Ok(reference) = std::str::from_utf8(rest) else {
                problems.add(&Place::Environment, format!("the reference in `{quoted}` is not UTF-8"));
                continue;
            };
            let Some((stem, gives)) = strip_suffix(&variable) else {
                problems.add_with_hint(
                    &Place::Environment,
                    format!("`{quoted}` holds a reference, but no value is ever put into a variable"),
                    format!(
                        "name it `{quoted}_FILE` (or `{quoted}_PATH`) to get a path, `{quoted}_FD` to get a descriptor's number; or let \
                         `path_env = \"{quoted}\"` of a secret in the configuration put the path into `{quoted}` itself"
                    ),
                );
                continue;
            };
            let secret = stem.to_ascii_lowercase().replace('_', "-");
            if let Some(other) = by_secret.get(&secret).and_then(|at: &usize| references.get(*at)) {
                problems.add_with_hint(
                    &Place::Environment,
                    format!(
                        "`{}` and `{quoted}` both name the secret `{}`",
                        excerpt(&other.variable),
                        excerpt(&secret)
                    ),
                    "set one of them, and use `path_env` and `fd_env` in the configuration for more",
                );
                continue;
            }
            by_secret.insert(secret.clone(), references.len());
            references.push(VariableReference {
                variable: variable.into_owned(),
                secret,
                gives,
                reference: reference.to_owned(),
            });
        }
        references
    }

    /// One warning for each variable that holds another tool's reference, for a bounded number of variables. A warning contains
    /// no part of the value.
    pub fn foreign_references(&self) -> Vec<String> {
        let shape = |value: &[u8]| {
            let starts = |prefix: &str| value.starts_with(prefix.as_bytes());
            // `arn:<partition>:<service>:…`, for any partition.
            let service = value.strip_prefix(b"arn:aws").and_then(|rest| rest.split(|byte| *byte == b':').nth(1));
            match service {
                Some(b"secretsmanager") => Some("aws:sm/<ARN>"),
                Some(b"ssm") => Some("aws:ssm/<parameter>"),
                _ if starts("vault:") || starts(">>vault:") || starts("${vault:") => Some("vault:<path>#<field>"),
                _ if starts("ssm://") => Some("aws:ssm/<parameter>"),
                _ if starts("azure:keyvault:") => Some("azure:<vault>/<secret>"),
                _ => None,
            }
        };
        let warning = |(name, value): (&OsStr, &OsStr)| {
            let shape = shape(value.as_bytes())?;
            let name = name.to_string_lossy();
            let stem = excerpt(strip_suffix(&name).map_or(&*name, |(stem, _)| stem));
            let name = excerpt(&name);
            Some(format!(
                "the variable `{name}` holds another tool's reference, which is not resolved: write `{stem}_FILE=handfast:{shape}`"
            ))
        };
        let mut found = self.variables().filter_map(warning);
        let mut warnings: Vec<String> = found.by_ref().take(MAX_REPORTED).collect();
        match found.count() {
            0 => {}
            more => warnings.push(format!("{more} more variables hold another tool's reference")),
        }
        warnings
    }

    /// The entries that the app inherits, unchanged and in their order: all but references, removed variables, and credentials
    /// that `keep` does not name. The second list has the names of the entries left out.
    pub fn for_app(&self, keep: &[String], remove: &[String]) -> (Vec<OsString>, Vec<String>) {
        let mut entries = Vec::with_capacity(self.captured.entries.len());
        let mut taken = Vec::new();
        let mut known = BTreeSet::new();
        let keep: BTreeSet<&str> = keep.iter().map(String::as_str).collect();
        let (patterns, names): (Vec<&String>, Vec<&String>) = remove.iter().partition(|name| name.contains('*'));
        let names: BTreeSet<&[u8]> = names.into_iter().map(|name| name.as_bytes()).collect();
        for entry in &self.captured.entries {
            let (name, whole) = match entry {
                Entry::Variable(_, value) if value.as_bytes().starts_with(MARK.as_bytes()) => continue,
                Entry::Variable(name, value) => (name.as_bytes(), [name.as_bytes(), b"=", value.as_bytes()].concat()),
                Entry::Credential(name, value) => (name.as_bytes(), [name.as_bytes(), b"=", value.expose()].concat()),
                Entry::Other(text) => (text.as_bytes(), text.as_bytes().to_vec()),
            };
            let text = String::from_utf8_lossy(name);
            let is_removed = names.contains(name) || patterns.iter().any(|pattern| matches(pattern.as_bytes(), name));
            if !is_removed && (!self.is_credential(&text) || keep.contains(&*text)) {
                entries.push(OsString::from_vec(whole));
            } else if known.insert(text.clone()) {
                taken.push(text.into_owned());
            }
        }
        (entries, taken)
    }
}

impl handfast_core::Environment for Environment {
    fn variable(&self, name: &str) -> Option<&str> {
        self.text(name).ok().flatten()
    }

    fn is_unreadable(&self, name: &str) -> bool {
        self.text(name).is_err()
    }

    fn credential(&self, name: &str) -> Option<&SecretValue> {
        let is_set = |value: &SecretValue| !value.expose().trim_ascii().is_empty();
        self.credentials().find(|(known, value)| *known == name && is_set(value)).map(|(_, value)| value)
    }
}

fn strip_suffix(variable: &str) -> Option<(&str, Gives)> {
    let suffixes = [("_FILE", Gives::Path), ("_PATH", Gives::Path), ("_FD", Gives::Number)];
    suffixes.into_iter().find_map(|(suffix, gives)| Some((variable.strip_suffix(suffix)?, gives)))
}

/// Whether a name matches a pattern in which `*` stands for any text. Each piece between two stars is matched at the first
/// possible place: a later place would leave less text for the pieces behind it.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut pieces = pattern.split(|byte| *byte == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        match rest.windows(piece.len()).position(|there| there == piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Captured::of(variables, &[("VAULT_TOKEN", "t")]).into()
    }

    #[test]
    fn a_reference_is_read_from_a_variable_with_the_right_suffix() {
        let mut problems = Problems::default();
        let environment = environment(&[
            ("DB_PASSWORD_FILE", "handfast:mock:db#a"),
            ("K_FD", "handfast:mock:k"),
            ("DATABASE_URL", "file:./x"),
        ]);
        let references = environment.references(&mut problems);
        assert!(problems.is_empty());
        assert_eq!(references[0].secret, "db-password");
        assert_eq!(references[0].reference, "mock:db#a");
        assert_eq!((references[1].secret.as_str(), references[1].gives), ("k", Gives::Number));
        assert_eq!(references.len(), 2);
    }

    #[test]
    fn white_space_around_a_value_is_none_of_it_and_alone_it_is_no_value() {
        let environment =
            environment(&[("A", " eu-west-1\r\n"), ("B", "\t\n"), ("C", "two words"), ("D", ""), ("E", "\u{a0}x")]);
        let text = |name| environment.text(name).unwrap();
        assert_eq!((text("A"), text("B"), text("C")), (Some("eu-west-1"), None, Some("two words")));
        // Of ASCII's alone: a rare character is more likely meant, or a problem that a check should show.
        assert_eq!((text("D"), text("E")), (None, Some("\u{a0}x")));
        // The app gets it as it was found.
        assert_eq!(environment.for_app(&[], &[]).0[0], "A= eu-west-1\r\n");
        let blank: Environment = Captured::of(&[], &[("VAULT_TOKEN", " \n")]).into();
        assert!(handfast_core::Environment::credential(&blank, "VAULT_TOKEN").is_none());
    }

    #[test]
    fn other_names_and_double_names_are_refused() {
        let mut problems = Problems::default();
        environment(&[
            ("DB_PASSWORD", "handfast:mock:db"),
            ("A_FILE", "handfast:mock:a"),
            ("A_PATH", "handfast:mock:a"),
        ])
        .references(&mut problems);
        let problems = problems.into_sorted();
        assert!(problems[0].message.contains("`A_FILE` and `A_PATH` both name the secret `a`"));
        assert!(problems[1].hint.as_ref().unwrap().contains("DB_PASSWORD_FILE"));
    }

    #[test]
    fn the_app_gets_no_reference_no_credential_and_nothing_removed() {
        let environment = environment(&[("A", "1"), ("LEGACY_X", "2"), ("B_FILE", "handfast:mock:b")]);
        let (entries, taken) = environment.for_app(&[], &["LEGACY_*".into()]);
        assert_eq!(entries, ["A=1"]);
        assert_eq!(taken, ["LEGACY_X", "VAULT_TOKEN"]);
        let (entries, taken) = environment.for_app(&["VAULT_TOKEN".into()], &[]);
        assert!(entries.contains(&"VAULT_TOKEN=t".into()) && taken.is_empty());
    }

    #[test]
    fn the_app_gets_the_rest_as_it_was_found() {
        let mut captured = Captured::of(&[("A", "1"), ("B", ""), ("A", "2")], &[("VAULT_TOKEN", "t")]);
        let others = ["ALONE", "=x", "", "LEGACY_X", "VAULT_TOKEN"].map(|text| Entry::Other(text.into()));
        captured.entries.extend(others);
        let environment = Environment::from(captured);
        let (entries, taken) = environment.for_app(&[], &["LEGACY_*".into()]);
        assert_eq!(entries, ["A=1", "B=", "A=2", "ALONE", "=x", ""]);
        assert_eq!(taken, ["VAULT_TOKEN", "LEGACY_X"]);
        let (entries, _) = environment.for_app(&["VAULT_TOKEN".into()], &[]);
        assert_eq!(entries, ["A=1", "B=", "A=2", "VAULT_TOKEN=t", "ALONE", "=x", "", "LEGACY_X", "VAULT_TOKEN"]);
    }

    #[test]
    fn foreign_references_are_named_without_their_value() {
        let warnings =
            environment(&[("DB_PASSWORD", "vault:kv/data/db#password"), ("X_FILE", "ssm:///a")]).foreign_references();
        assert!(warnings[0].ends_with("write `DB_PASSWORD_FILE=handfast:vault:<path>#<field>`"));
        assert!(warnings[1].ends_with("write `X_FILE=handfast:aws:ssm/<parameter>`"));
        assert!(!warnings.concat().contains("kv/data"));
        let told = |value: &str| environment(&[("A", value)]).foreign_references().pop();
        for (value, shape) in [
            (">>vault:secret/db#x", "vault:<path>#<field>"),
            ("${vault:secret/data/db#x}", "vault:<path>#<field>"),
            ("azure:keyvault:web/db", "azure:<vault>/<secret>"),
            ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:db", "aws:sm/<ARN>"),
            ("arn:aws-iso-b:secretsmanager:us-isob-east-1:123456789012:secret:db", "aws:sm/<ARN>"),
            ("arn:aws-cn:ssm:cn-north-1:123456789012:parameter/db", "aws:ssm/<parameter>"),
        ] {
            assert!(told(value).unwrap().ends_with(&format!("write `A_FILE=handfast:{shape}`")), "{value}");
        }
        for of_the_app in ["file:./x", "arn:aws:s3:::bucket", "a vault:x", "https://vault", "arn:aws", "VAULT:x", ""] {
            assert_eq!(told(of_the_app), None, "{of_the_app}");
        }
    }

    #[test]
    fn patterns() {
        assert!(
            matches(b"LEGACY_*", b"LEGACY_A")
                && matches(b"*_KEY", b"A_KEY")
                && matches(b"A", b"A")
                && matches(b"*", b"")
        );
        assert!(!matches(b"LEGACY_*", b"NEW_LEGACY_A") && !matches(b"A", b"AB"));
        assert!(matches(b"A*B*C", b"AxBBC") && matches(b"**", b"A") && matches(b"*A*", b"A") && matches(b"", b""));
        assert!(!matches(b"A*A", b"A") && !matches(b"*AB*AB*", b"xABxA") && !matches(b"", b"A"));
        // A backtracking matcher would never end here: each star could stand for a thousand lengths.
        assert!(!matches(&b"*A".repeat(1000), &b"A".repeat(999)));
    }
}
