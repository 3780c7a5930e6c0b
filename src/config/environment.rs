//! The environment: handfast's own settings, references in variables, and what of it the app gets.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use handfast_core::{Place, Problems, SecretValue};

use crate::config::bootstrap;
use crate::sys::environment::Captured;

/// What starts a reference in a variable's value.
const MARK: &str = "handfast:";

/// The environment that handfast was started with.
pub struct Environment(Captured);

/// A variable's value is not UTF-8.
#[derive(Debug)]
pub struct NotText;

/// A reference that stands in a variable.
#[derive(Debug, PartialEq, Eq)]
pub struct VariableReference {
    /// The variable.
    pub variable: String,
    /// The secret's name: the variable's without its suffix, lower case, `_` as `-`.
    pub secret: String,
    /// What the variable gets.
    pub gives: Gives,
    /// The reference, without `handfast:`.
    pub reference: String,
}

/// What a variable gets, as its suffix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// `_FILE`, `_PATH`: the path.
    Path,
    /// `_FD`: the descriptor's number.
    Number,
}

impl From<Captured> for Environment {
    fn from(captured: Captured) -> Self {
        Self(captured)
    }
}

impl Environment {
    /// A variable that holds no credential, as text; an empty one counts as unset. `Err` where it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, NotText> {
        match self.raw(name) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).ok_or(NotText),
        }
    }

    /// A variable that holds no credential; an empty one counts as unset.
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        let (_, value) = self.0.variables.iter().find(|(known, _)| known == name)?;
        (!value.is_empty()).then_some(value)
    }

    /// Whether a variable holds a bootstrap credential.
    pub fn is_credential(&self, name: &str) -> bool {
        bootstrap::is_credential(name.as_bytes()) || self.0.credentials.iter().any(|(known, _)| known == name)
    }

    /// Makes a variable a bootstrap credential, which the configuration says it is.
    pub fn take_credential(&mut self, name: &str) {
        self.0.take_credential(name);
    }

    /// The same without the bootstrap credentials.
    pub fn without_credentials(self) -> Self {
        Self(Captured { variables: self.0.variables, credentials: Vec::new() })
    }

    /// The references in variables. A value that does not start with `handfast:` belongs to the app.
    pub fn references(&self, problems: &mut Problems) -> Vec<VariableReference> {
        let mut references: Vec<VariableReference> = Vec::new();
        let mut by_secret = BTreeMap::new();
        for (name, value) in &self.0.credentials {
            if value.expose().starts_with(MARK.as_bytes()) {
                let message = format!("`{name}` holds a reference, but it is read as a bootstrap credential");
                let hint = "a provider's own credential cannot come from a provider: give its value, or a file of it";
                problems.add_with_hint(&Place::Environment, message, hint);
            }
        }
        for (name, value) in &self.0.variables {
            let Some(rest) = value.as_bytes().strip_prefix(MARK.as_bytes()) else { continue };
            let variable = name.to_string_lossy();
            let Ok(reference) = std::str::from_utf8(rest) else {
                problems.add(&Place::Environment, format!("the reference in `{variable}` is not UTF-8"));
                continue;
            };
            let Some((stem, gives)) = strip_suffix(&variable) else {
                problems.add_with_hint(
                    &Place::Environment,
                    format!("`{variable}` holds a reference, but no value is ever put into a variable"),
                    format!("name it `{variable}_FILE` (or `{variable}_PATH`) to get a path, `{variable}_FD` to get a descriptor's number"),
                );
                continue;
            };
            let secret = stem.to_ascii_lowercase().replace('_', "-");
            if let Some(other) = by_secret.get(&secret).and_then(|at: &usize| references.get(*at)) {
                problems.add_with_hint(
                    &Place::Environment,
                    format!("`{}` and `{variable}` both name the secret `{secret}`", other.variable),
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

    /// One warning for each variable that holds a reference of another tool's; no part of the value is in it.
    pub fn foreign_references(&self) -> Vec<String> {
        let shape = |value: &[u8]| {
            let starts = |prefix: &str| value.starts_with(prefix.as_bytes());
            // `arn:<partition>:<service>:…`, whatever the partition.
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
        let warning = |(name, value): &(OsString, OsString)| {
            let shape = shape(value.as_bytes())?;
            let name = name.to_string_lossy();
            let stem = strip_suffix(&name).map_or(&*name, |(stem, _)| stem);
            Some(format!(
                "the variable `{name}` holds another tool's reference, which is not resolved: write `{stem}_FILE=handfast:{shape}`"
            ))
        };
        self.0.variables.iter().filter_map(warning).collect()
    }

    /// What the app gets of it: everything but references, removed variables and credentials; kept credentials are in it.
    /// The second list names what was taken away.
    pub fn for_app(&self, keep: &[String], remove: &[String]) -> (Vec<(OsString, OsString)>, Vec<String>) {
        let is_removed = |name: &[u8]| remove.iter().any(|pattern| matches(pattern.as_bytes(), name));
        let mut taken = Vec::new();
        let mut variables = Vec::with_capacity(self.0.variables.len());
        for (name, value) in &self.0.credentials {
            if keep.contains(name) && !is_removed(name.as_bytes()) {
                variables.push((name.into(), OsString::from_vec(value.expose().to_vec())));
            } else {
                taken.push(name.clone());
            }
        }
        for (name, value) in &self.0.variables {
            if value.as_bytes().starts_with(MARK.as_bytes()) {
                continue;
            }
            if is_removed(name.as_bytes()) {
                taken.push(name.to_string_lossy().into_owned());
            } else {
                variables.push((name.clone(), value.clone()));
            }
        }
        (variables, taken)
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
        self.0.credentials.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value)
    }
}

fn strip_suffix(variable: &str) -> Option<(&str, Gives)> {
    let suffixes = [("_FILE", Gives::Path), ("_PATH", Gives::Path), ("_FD", Gives::Number)];
    suffixes.into_iter().find_map(|(suffix, gives)| Some((variable.strip_suffix(suffix)?, gives)))
}

/// Whether a name fits a pattern, in which `*` stands for any text. Each piece between two stars is taken where it first fits: a later
/// place would leave less for those behind it.
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
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Environment(Captured { variables, credentials: vec![("VAULT_TOKEN".into(), SecretValue::from(b"t".to_vec()))] })
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
        let (variables, taken) = environment.for_app(&[], &["LEGACY_*".into()]);
        assert_eq!(variables, [("A".into(), "1".into())]);
        assert_eq!(taken, ["VAULT_TOKEN", "LEGACY_X"]);
        let (variables, taken) = environment.for_app(&["VAULT_TOKEN".into()], &[]);
        assert!(variables.contains(&("VAULT_TOKEN".into(), "t".into())) && taken.is_empty());
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
        // Each star could stand for a thousand lengths.
        assert!(!matches(&b"*A".repeat(1000), &b"A".repeat(999)));
    }
}
