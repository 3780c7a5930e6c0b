//! `kv/web/*`: every secret directly below a path.

use handfast_core::ErrorKind;
use handfast_testkit::run;
use handfast_testservers::{Vault, random};
use serde_json::json;

use crate::support::{as_root, as_token, entries};

/// A KV mount of this version with a few secrets, some of them in subdirectories.
fn kv(vault: &Vault, version: u8) -> String {
    let mount = random("kv-");
    vault.enable_kv(&mount, version);
    for name in ["web/db", "web/api key", "web/db/replica", "web/nested/deep", "only/nested/deep"] {
        let name = name.replace(' ', "%20");
        match version {
            1 => vault.must("POST", &format!("{mount}/{name}"), json!({ "password": name })),
            _ => vault.must("POST", &format!("{mount}/data/{name}"), json!({ "data": { "password": name } })),
        };
    }
    mount
}

#[test]
fn every_secret_directly_below_a_path() {
    let Some(vault) = Vault::shared() else { return };
    for version in [1, 2] {
        let mount = kv(vault, version);
        run(async {
            let instance = as_root(vault);
            let found = entries(instance.fetch(&format!("vault:{mount}/web/*")).await);
            let expected = ["api key", "db"].map(|name| (name.to_owned(), format!("{mount}/web/{name}")));
            assert_eq!(found, expected, "KV {version}");
            assert_eq!(instance.value(&format!("vault:{mount}/web/api key")).await, br#"{"password":"web/api%20key"}"#);
        });
    }
}

#[test]
fn a_list_with_no_secret_in_it_is_not_found() {
    let Some(vault) = Vault::shared() else { return };
    for version in [1, 2] {
        let mount = kv(vault, version);
        run(async {
            let instance = as_root(vault);
            let error = instance.error(&format!("vault:{mount}/none/*")).await;
            assert_eq!(error.kind, ErrorKind::NotFound);
            assert_eq!(error.message, format!("cannot list `{mount}/none/`: there is nothing below it"));
            for nested in ["only", ""] {
                let path = format!("{mount}/{nested}").trim_end_matches('/').to_owned();
                let error = instance.error(&format!("vault:{path}/*")).await;
                assert_eq!(error.kind, ErrorKind::NotFound);
                assert_eq!(error.message, format!("cannot list `{path}/`: there is no secret directly below it"));
            }
        });
    }
}

#[test]
fn a_list_needs_its_own_capability() {
    let Some(vault) = Vault::shared() else { return };
    let (mount, policy) = (kv(vault, 2), random("policy-"));
    vault.policy(&policy, &format!("path \"{mount}/data/*\" {{ capabilities = [\"read\"] }}"));
    let token = vault.token(&[&policy]);
    run(async {
        let error = as_token(vault, &token).error(&format!("vault:{mount}/web/*")).await;
        assert_eq!(error.kind, ErrorKind::Denied);
        let needed = format!("path \"{mount}/metadata/web/\" {{ capabilities = [\"list\"] }}");
        assert!(error.hint.as_deref().unwrap_or_default().contains(&needed), "{:?}", error.hint);
    });
    vault.policy(&policy, &format!("path \"{mount}/metadata/web/\" {{ capabilities = [\"list\"] }}"));
    run(async {
        assert_eq!(entries(as_token(vault, &token).fetch(&format!("vault:{mount}/web/*")).await).len(), 2);
    });
}

/// Other kinds of mounts have lists too.
#[test]
fn the_names_in_a_cubbyhole() {
    let Some(vault) = Vault::shared() else { return };
    let token = vault.token(&["default"]);
    for name in ["a", "b"] {
        vault.api_as(&token, "POST", &format!("cubbyhole/web/{name}"), json!({ "password": name }));
    }
    run(async {
        let found = entries(as_token(vault, &token).fetch("vault:cubbyhole/web/*").await);
        assert_eq!(found, ["a", "b"].map(|name| (name.to_owned(), format!("cubbyhole/web/{name}"))));
    });
}

/// `*` would be a list again, and is not accepted as the name of a file.
#[test]
fn a_secret_whose_name_cannot_be_a_file_name() {
    let Some(vault) = Vault::shared() else { return };
    let mount = kv(vault, 2);
    vault.must("POST", &format!("{mount}/data/web/%2A"), json!({ "data": { "password": "star" } }));
    run(async {
        let error = as_root(vault).error(&format!("vault:{mount}/web/*")).await;
        assert_eq!(error.kind, ErrorKind::Malformed);
        assert!(error.message.ends_with("the name of its secret `*` cannot be a file's"), "{error}");
    });
}
