//! Stored secrets: KV 1, KV 2, cubbyholes.

use handfast_core::ErrorKind;
use handfast_testkit::run;
use handfast_testservers::{Vault, random};
use serde_json::{Value, json};

use crate::support::{as_root, as_token};

/// A new KV 2 mount with these versions of `web/db`.
fn kv_2(vault: &Vault, passwords: &[&str]) -> String {
    let mount = random("kv2-");
    vault.enable_kv(&mount, 2);
    for password in passwords {
        vault.must("POST", &format!("{mount}/data/web/db"), json!({ "data": { "password": password } }));
    }
    mount
}

#[test]
fn a_kv_1_secret() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("kv1-");
    vault.enable_kv(&mount, 1);
    vault.must("POST", &format!("{mount}/web/db"), json!({ "password": "one", "data": { "n": 1 } }));
    run(async {
        let instance = as_root(vault);
        let db = format!("vault:{mount}/web/db");
        assert_eq!(instance.value(&db).await, br#"{"data":{"n":1},"password":"one"}"#);
        assert_eq!(instance.error(&format!("vault:{mount}/web/none")).await.kind, ErrorKind::NotFound);
        let error = instance.error(&format!("{db}?version=1")).await;
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.message.contains("`version` is of KV 2 secrets"), "{error}");
    });
}

#[test]
fn a_kv_2_secret_and_its_versions() {
    let Some(vault) = Vault::shared() else { return };
    let mount = kv_2(vault, &["first", "second"]);
    run(async {
        let instance = as_root(vault);
        let db = format!("vault:{mount}/web/db");
        assert_eq!(instance.value(&db).await, br#"{"password":"second"}"#);
        assert_eq!(instance.value(&format!("{db}?version=1")).await, br#"{"password":"first"}"#);
        assert_eq!(instance.value(&format!("{db}?version=2")).await, br#"{"password":"second"}"#);
    });
}

#[test]
fn deleted_and_destroyed_versions_have_their_own_errors() {
    let Some(vault) = Vault::shared() else { return };
    let mount = kv_2(vault, &["first", "second", "third", "fourth"]);
    vault.must("POST", &format!("{mount}/delete/web/db"), json!({ "versions": [2, 4] }));
    vault.must("POST", &format!("{mount}/destroy/web/db"), json!({ "versions": [3] }));
    vault.must("POST", &format!("{mount}/data/web/gone"), json!({ "data": { "password": "gone" } }));
    vault.must("DELETE", &format!("{mount}/metadata/web/gone"), Value::Null);
    run(async {
        let instance = as_root(vault);
        let case = async |rest: &str, says: &str, hint: Option<&str>| {
            let error = instance.error(&format!("vault:{mount}/web/{rest}")).await;
            assert_eq!(error.kind, ErrorKind::NotFound, "{rest}: {error}");
            let path = rest.split('?').next().expect("a path");
            assert_eq!(error.message, format!("cannot read `{mount}/web/{path}`: {says}"));
            assert_eq!(error.hint.as_deref(), hint, "{rest}");
        };
        let undelete =
            |version: u32| format!("`vault kv undelete -mount={mount} -versions={version} web/db` brings it back");
        case("db", "its version 4 was deleted", Some(&undelete(4))).await;
        case("db?version=2", "its version 2 was deleted", Some(&undelete(2))).await;
        case("db?version=3", "its version 3 was destroyed", None).await;
        let none = "there is no such secret, or it has no such version";
        case("db?version=5", none, None).await;
        case("db?version=4294967295", none, None).await;
        case("gone?version=1", none, None).await;
        case("gone", "there is no such secret", None).await;
        case("never", "there is no such secret", None).await;
        // The other versions can still be read.
        assert_eq!(instance.value(&format!("vault:{mount}/web/db?version=1")).await, br#"{"password":"first"}"#);
    });
}

#[test]
fn a_version_that_will_be_deleted_can_still_be_read() {
    let Some(vault) = Vault::shared() else { return };
    let mount = kv_2(vault, &["first"]);
    vault.must("POST", &format!("{mount}/metadata/web/db"), json!({ "delete_version_after": "24h" }));
    vault.must("POST", &format!("{mount}/data/web/db"), json!({ "data": { "password": "second" } }));
    run(async {
        assert_eq!(as_root(vault).value(&format!("vault:{mount}/web/db")).await, br#"{"password":"second"}"#);
    });
}

/// Vault's own client writes the secrets, with percent-encoded paths.
#[test]
fn names_of_any_characters() {
    let Some(vault) = Vault::shared() else { return };
    for version in [1, 2] {
        let mount = random("kv-");
        vault.enable_kv(&mount, version);
        // The name in a reference, and in the URL.
        let names = [
            ("with space", "with%20space"),
            ("schlüssel/鍵", "schl%C3%BCssel/%E9%8D%B5"),
            ("a+b", "a%2Bb"),
            ("a%25b", "a%25b"),
            ("a%2541", "a%2541"),
            ("what%3F", "what%3F"),
            ("x%23y", "x%23y"),
            ("a;b=c&d", "a%3Bb%3Dc%26d"),
            ("~a:b@c!$'()*,", "~a%3Ab%40c%21%24%27%28%29%2A%2C"),
            ("\"<>\\^`{|}[]", "%22%3C%3E%5C%5E%60%7B%7C%7D%5B%5D"),
            (".a/b.", ".a/b."),
        ];
        for (number, (_, wire)) in names.iter().enumerate() {
            let (path, body) = match version {
                1 => (format!("{mount}/{wire}"), json!({ "n": number })),
                _ => (format!("{mount}/data/{wire}"), json!({ "data": { "n": number } })),
            };
            vault.must("POST", &path, body);
        }
        run(async {
            let instance = as_root(vault);
            for (number, (name, _)) in names.iter().enumerate() {
                let value = instance.value(&format!("vault:{mount}/{name}")).await;
                assert_eq!(String::from_utf8(value).unwrap(), format!(r#"{{"n":{number}}}"#), "{name}");
            }
            // The name without the space is another secret.
            assert_eq!(instance.error(&format!("vault:{mount}/a+b ")).await.kind, ErrorKind::NotFound);
        });
    }
}

/// KV 2 itself would round the number.
#[test]
fn values_arrive_as_vault_stores_them() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("kv1-");
    vault.enable_kv(&mount, 1);
    let data =
        json!({ "big": 12345678901234567890_u64, "float": 1.5, "text": "a \" b\\né ", "list": [1, 2], "none": null });
    vault.must("POST", &format!("{mount}/web/db"), data);
    run(async {
        let value = String::from_utf8(as_root(vault).value(&format!("vault:{mount}/web/db")).await).unwrap();
        let expected = r#"{"big":12345678901234567890,"float":1.5,"list":[1,2],"none":null,"text":"a \" b\\né "}"#;
        assert_eq!(value, expected);
    });
}

#[test]
fn each_token_has_its_own_cubbyhole() {
    let Some(vault) = Vault::shared() else { return };
    let (mine, other) = (vault.token(&["default"]), vault.token(&["default"]));
    vault.api_as(&mine, "POST", "cubbyhole/web/db", json!({ "password": "mine" }));
    run(async {
        assert_eq!(as_token(vault, &mine).value("vault:cubbyhole/web/db").await, br#"{"password":"mine"}"#);
        assert_eq!(as_token(vault, &other).error("vault:cubbyhole/web/db").await.kind, ErrorKind::NotFound);
    });
}
