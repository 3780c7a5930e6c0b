//! The text of policies, for known and unknown mounts.

use handfast_core::SecretRef;

use super::*;

fn policy(known: &[(&str, Kind)], references: &[&str]) -> String {
    let known = known.iter().map(|(path, kind)| Mount { path: (*path).to_owned(), kind: *kind }).collect();
    let locators: Vec<Locator> = references
        .iter()
        .map(|text| {
            let (text, params) = text.split_once(' ').map_or((*text, None), |(text, params)| (text, Some(params)));
            let locator = SecretRef::parse(&format!("vault:{text}")).unwrap().locator;
            Locator { params: params.map(str::to_owned), ..locator }
        })
        .collect();
    let text = hcl(&Mounts::new(known), None, &locators.iter().collect::<Vec<_>>());
    let body =
        text.strip_prefix("# What handfast's references need, and nothing else.\n").expect("it starts with a comment");
    // One line for each rule, for the tables below.
    body.replace(" {\n  capabilities = ", " ").replace("\n}\n", "\n").replace("\n\n", "\n").trim_start().to_owned()
}

#[test]
fn each_kind_of_reference_gets_its_paths_and_nothing_else() {
    let kinds = [("v1", Kind::Kv1), ("team/v2", Kind::Kv2), ("db", Kind::Other), ("pki", Kind::Other)];
    let references = [
        "v1/web/db",
        "v1/web/*#password",
        "team/v2/web/db#password",
        "team/v2/web/db?version=3",
        "team/v2/*",
        "team/v2/web/*",
        "db/creds/web#username",
        "db/creds/web#password",
        "pki/issue/web {}",
        "pki/cert/ca",
        "cubbyhole/mine",
        "cubbyhole/theirs {}",
        "sys/wrapping/unwrap",
    ];
    let expected = r#"path "cubbyhole/mine" ["read"]
path "cubbyhole/theirs" ["create", "update"]
path "db/creds/web" ["read"]
path "pki/cert/ca" ["read"]
path "pki/issue/web" ["update"]
path "team/v2/data/+" ["read"]
path "team/v2/data/web/+" ["read"]
path "team/v2/data/web/db" ["read"]
path "team/v2/metadata/" ["list"]
path "team/v2/metadata/web/" ["list"]
path "v1/web/" ["list"]
path "v1/web/+" ["read"]
path "v1/web/db" ["read"]
"#;
    assert_eq!(policy(&kinds, &references), expected);
    let mut backwards = references;
    backwards.reverse();
    assert_eq!(policy(&kinds, &backwards), expected, "the order of the references makes no difference");
}

#[test]
fn a_reference_with_the_prefix_of_kv_2_gets_a_note() {
    let text = policy(&[("kv", Kind::Kv2)], &["kv/data/web/db", "kv/data/web/db#a", "kv/metadata/*", "kv/web"]);
    let expected = "# `kv/data/web/db`: write `kv/web/db`: `data/` is Vault's own, and is put in for a KV 2 mount.\n\
                    # `kv/metadata/*`: write `kv/*`: `metadata/` is Vault's own, and is put in for a KV 2 mount.\n";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(text.matches("# `").count(), 2, "{text}");
    assert!(!policy(&[("kv", Kind::Kv1)], &["kv/data/web/db"]).contains("# `"));
    // The same for a mount of unknown kind.
    let text = policy(&[], &["kv/data/web/db"]);
    assert_eq!(text.matches("# `kv/data/web/db`: write `kv/web/db`: `data/` is Vault's own").count(), 1, "{text}");
}

#[test]
fn an_unknown_mount_gets_both_paths() {
    let text = policy(&[], &["kv/web/db", "kv/web/*", "pki/issue/web {}"]);
    let header = "# A mount whose kind is not known has two paths: `mounts` in the configuration tells it, or `handfast policy --online`.";
    assert_eq!(text.lines().next(), Some(header));
    for (comment, path) in [
        ("# where its mount is KV 2", r#"path "kv/data/web/+" ["read"]"#),
        ("# where its mount is KV 2", r#"path "kv/data/web/db" ["read"]"#),
        ("# where its mount is KV 2", r#"path "kv/metadata/web/" ["list"]"#),
        ("# where its mount is not KV 2", r#"path "kv/web/" ["list"]"#),
        ("# where its mount is not KV 2", r#"path "kv/web/+" ["read"]"#),
        ("# where its mount is not KV 2", r#"path "kv/web/db" ["read"]"#),
    ] {
        assert!(text.contains(&format!("{comment}\n{path}\n")), "{path}: {text}");
    }
    // A write is refused on all key/value mounts, so it needs no rule for both kinds.
    assert!(text.ends_with("]\npath \"pki/issue/web\" [\"update\"]\n"), "{text}");
    // A rule that is always needed has no condition.
    let text = policy(&[("kv/data", Kind::Kv1)], &["kv/data/db", "kv/db"]);
    assert!(text.contains("`handfast policy --online`.\npath \"kv/data/db\" [\"read\"]\n# where"), "{text}");
}

#[test]
fn a_path_stays_in_its_quotes_and_a_wildcard_gets_a_note() {
    let other = [("kv", Kind::Kv1)];
    assert_eq!(policy(&other, &[r#"kv/a"b\c"#]), "path \"kv/a\\\"b\\\\c\" [\"read\"]\n");
    for path in ["kv/db*", "kv/+/db"] {
        assert!(policy(&other, &[path]).contains("this grants more than one.\npath"), "{path}");
    }
    for path in ["kv/*", "kv/a*b", "kv/a+b", "kv/+b"] {
        assert!(!policy(&other, &[path]).contains("grants more"), "{path}");
    }
}

#[test]
fn the_policy_names_its_namespace() {
    let text = hcl(&Mounts::new(Vec::new()), Some("team-a"), &[]);
    assert!(text.contains("\n# Write it in the namespace team-a: its paths are that namespace's.\n"), "{text}");
}
