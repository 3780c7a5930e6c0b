//! Invariant 5: one secret type, wiped on drop, with one greppable way in; errors and logs cannot hold it.

use std::collections::BTreeMap;

use crate::support::{Source, has_word, sources};

/// Every file that may look at a secret, and what for.
const EXPOSE: &[(&str, &str)] = &[
    ("providers/aws/src/credentials/container.rs", "the agent's token, without its line's end"),
    ("providers/aws/src/credentials/environment.rs", "keys without their line's end"),
    ("providers/aws/src/credentials/keys.rs", "keys as text"),
    ("providers/aws/src/credentials/shared_files.rs", "the shared files, which may hold keys"),
    ("providers/http/src/wiped.rs", "a body to send, which is wiped behind the client"),
    ("providers/aws/src/credentials/issued.rs", "the JSON with a container's or a machine's keys"),
    ("providers/aws/src/credentials/machine.rs", "the token of the metadata service, and the names that it tells"),
    ("providers/aws/src/credentials/sts.rs", "the token for a login, and the fields of an answer"),
    ("providers/azure/src/auth/certificate.rs", "a client certificate and its key, for a signature"),
    ("providers/azure/src/auth/managed.rs", "what the identity endpoint asks for, and the JSON of its answer"),
    ("providers/azure/src/auth/reasons.rs", "the numbers of a refusal, which select a text of ours"),
    ("providers/azure/src/explain.rs", "the codes of a refusal, which select a text of ours"),
    ("providers/core/src/credential.rs", "a credential as text, without its line's end"),
    ("providers/http/src/authorities.rs", "the certificates of a `ca_file`"),
    ("providers/http/src/identity.rs", "a client certificate and its key"),
    ("providers/http/src/proxy.rs", "the proxy's URL, with its password, for the client"),
    ("providers/mock/src/lib.rs", "a copy of the made-up value"),
    ("providers/vault/src/api/answer.rs", "the JSON of an answer"),
    ("providers/vault/src/api/mod.rs", "the token, for the header of a request"),
    ("providers/vault/src/api/foreign.rs", "whether an answer starts as JSON does"),
    ("providers/vault/src/auth/approle.rs", "the secret id, for the login"),
    ("providers/vault/src/auth/aws.rs", "the signed headers, for the login"),
    ("providers/vault/src/auth/gcp.rs", "the machine's identity token, for the login"),
    ("providers/vault/src/auth/wrapping.rs", "a copy of what a wrapping token held, for a login that is tried again"),
    ("providers/vault/src/explain.rs", "the `errors` of a refusal, which select a text of ours"),
    ("providers/vault/src/active_login.rs", "whether a token is that of the login before"),
    ("providers/vault/src/store.rs", "the JSON of an answer"),
    ("src/config/source.rs", "a configuration file's text, which may hold credentials"),
    ("src/config/environment.rs", "a credential that `env_keep` names, for the app"),
    ("src/deliver/descriptors.rs", "into the memfd"),
    ("src/deliver/generation.rs", "into the file"),
    ("src/fetch/schedule/known.rs", "a digest of it"),
    ("src/fetch/select.rs", "the picking of a field"),
    ("src/worker/inside/send.rs", "into the socketpair"),
];

#[test]
fn secrets_are_looked_at_only_where_it_is_listed() {
    let all = sources(&["src", "providers"]);
    // The conformance suite is a test that providers link.
    let all: Vec<Source> = all.into_iter().filter(|source| !source.path.starts_with("providers/testkit/")).collect();
    let uses = |source: &&Source| source.code.contains(".expose()") || source.code.contains("SecretValue::expose");
    let found: Vec<&str> = all.iter().filter(uses).map(|source| source.path.as_str()).collect();
    let listed: Vec<&str> = EXPOSE.iter().map(|(path, _)| *path).collect();
    let unlisted: Vec<_> = found.iter().filter(|path| !listed.contains(path)).collect();
    assert!(unlisted.is_empty(), "say here what for: {unlisted:?}");
    let stale: Vec<_> = listed.iter().filter(|path| !found.contains(path)).collect();
    assert!(stale.is_empty(), "no longer: {stale:?}");
    // There is no second way in.
    let secret = &all.iter().find(|source| source.path == "providers/core/src/secret.rs").expect("the type").code;
    for other in
        ["Deref", "AsRef", "Borrow", "Debug", "Display", "Clone", "Serialize", "Hash", "PartialEq", "pub fn into"]
    {
        assert!(!secret.contains(other), "{other}");
    }
    assert_eq!(secret.matches("-> &[u8]").count(), 1, "expose");
    assert!(secret.contains("pub struct SecretValue(Zeroizing<Vec<u8>>);"), "it is wiped when dropped");
}

/// A type, its attributes, and what it is made of.
struct Type {
    path: String,
    attributes: String,
    body: String,
}

fn types(all: &[Source]) -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    for source in all {
        let mut attributes = String::new();
        let mut lines = source.code.lines();
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let keyword = words.iter().position(|word| ["struct", "enum"].contains(word));
            let declares = keyword.is_some_and(|at| at <= 3 && line.starts_with(['p', 's', 'e']));
            if line.starts_with("#[") {
                attributes.push_str(line);
            } else if declares {
                let name = words[keyword.expect("seen above") + 1].to_owned();
                let mut body = line.to_owned();
                // Until the bracket that it opens is closed at the line's beginning, as rustfmt writes it.
                while body.ends_with('{')
                    || body.ends_with('(')
                    || body.contains('\n') && !body.contains("\n}") && !body.contains("\n)")
                {
                    let Some(next) = lines.next() else { break };
                    body = format!("{body}\n{next}");
                }
                if words[keyword.expect("seen above")] == "enum" {
                    // A variant that holds nothing may have a type's name.
                    let something = |line: &&str| !line.trim().trim_end_matches(',').chars().all(char::is_alphanumeric);
                    body = body.lines().filter(something).collect::<Vec<_>>().join("\n");
                }
                let attributes = std::mem::take(&mut attributes);
                types.insert(
                    format!("{} in {}", name, source.path),
                    Type { path: source.path.clone(), attributes, body },
                );
            } else {
                attributes.clear();
            }
        }
    }
    types
}

#[test]
fn nothing_that_holds_a_secret_can_be_printed_or_copied() {
    let all = sources(&["src", "providers"]);
    let types = types(&all);
    assert!(types.len() > 60, "the search finds types: {}", types.len());
    let mut holders = vec!["SecretValue".to_owned()];
    // Types that hold one that holds one, within a crate; between crates only the first step counts, since names repeat.
    loop {
        let holds = |body: &str, path: &str| {
            holders.iter().any(|holder| {
                let (name, place) = holder.split_once(" in ").unwrap_or((holder, ""));
                has_word(body, name) && (place.is_empty() || crate_of(place) == crate_of(path))
            })
        };
        let more: Vec<String> = types
            .iter()
            .filter(|(name, of)| {
                !holders.contains(name) && !name.starts_with("SecretValue ") && holds(&of.body, &of.path)
            })
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        holders.extend(more);
    }
    assert!(holders.len() > 8, "{holders:?}");
    for holder in &holders[1..] {
        let attributes = &types[holder].attributes;
        for derived in ["Debug", "Clone", "Serialize", "Display"] {
            assert!(!has_word(attributes, derived), "{holder} derives {derived}");
        }
        let (name, path) = holder.split_once(" in ").expect("both");
        for source in all.iter().filter(|source| crate_of(&source.path) == crate_of(path)) {
            for implemented in ["Debug for", "Display for", "Clone for", "Serialize for"] {
                let line = source.code.lines().find(|line| line.contains(&format!("{implemented} {name} ")));
                // With an own implementation, the value must stay out: none exists, so none is looked at here.
                assert!(line.is_none(), "{holder}: {line:?} in {}", source.path);
            }
        }
    }
}

fn crate_of(path: &str) -> &str {
    path.split_once("src/").map_or(path, |(before, _)| before)
}

#[test]
fn errors_and_log_lines_are_made_of_types_that_cannot_hold_one() {
    let all = sources(&["src", "providers"]);
    let types = types(&all);
    let mut seen = 0;
    for (name, of) in &types {
        let bare = name.split(' ').next().expect("a name");
        let text = ["Error", "ProviderError", "Problem", "Problems", "Subject", "Line", "Message", "Settings", "Place"]
            .contains(&bare);
        if text && (of.path.ends_with("error.rs") || of.path.ends_with("report.rs") || of.path.ends_with("problem.rs"))
        {
            seen += 1;
            for forbidden in ["SecretValue", "Vec<u8>", "OsString", "Bytes", "Box<dyn"] {
                assert!(!of.body.contains(forbidden), "{name}: {forbidden}");
            }
        }
    }
    assert!(seen >= 6, "{seen}");
    // Where they are made, no secret is in scope.
    for source in all.iter().filter(|source| {
        ["src/error.rs", "src/report.rs", "providers/core/src/error.rs", "providers/core/src/problem.rs"]
            .contains(&source.path.as_str())
    }) {
        assert!(!source.names("SecretValue") && !source.names("expose"), "{}", source.path);
    }
}

#[test]
fn what_must_not_compile_is_shown_to_the_compiler() {
    let all = sources(&["providers/core"]);
    let text = &all.iter().find(|source| source.path.ends_with("/secret.rs")).expect("the type").text;
    let examples: Vec<&str> =
        text.split("```compile_fail").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    for attempt in ["{:?}", "{}", ".clone()"] {
        assert!(examples.iter().any(|example| example.contains(attempt)), "{attempt}");
    }
}
