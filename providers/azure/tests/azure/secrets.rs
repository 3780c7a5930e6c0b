//! The values of references, and secrets outside of their dates.

use handfast_core::{ErrorKind, Term};
use handfast_testkit::run;
use handfast_testservers::Azure;
use serde_json::json;

use crate::support::{assert_text, known};

#[test]
fn the_newest_version_or_a_named_version() {
    let Some(azure) = Azure::start() else { return };
    let old = azure.set("db", "old");
    azure.set("db", "new \u{e4}\n");
    run(async {
        let instance = known(&azure);
        assert_eq!(instance.value("azure:db").await, "new \u{e4}\n".as_bytes());
        assert_eq!(instance.value(&format!("azure:db?version={old}")).await, b"old");
        let missing = format!("azure:db?version={}", "0".repeat(32));
        assert_text(
            &instance.error(&missing).await,
            ErrorKind::NotFound,
            "there is no such secret, or no such version",
            "",
        );
    });
}

#[test]
fn a_certificate_is_the_text_that_the_vault_stores() {
    let Some(azure) = Azure::start() else { return };
    azure.set_with("cert", json!({ "value": "MIIK", "contentType": "application/x-pkcs12" }));
    azure.set_with("pem", json!({ "value": "-----BEGIN PRIVATE KEY-----\n", "contentType": "application/x-pem-file" }));
    run(async {
        let instance = known(&azure);
        assert_eq!(instance.value("azure:cert").await, b"MIIK");
        assert_eq!(instance.value("azure:pem").await, b"-----BEGIN PRIVATE KEY-----\n");
    });
}

#[test]
fn expired_disabled_and_deleted_secrets_have_their_own_errors() {
    let Some(azure) = Azure::start() else { return };
    azure.set_with("off", json!({ "value": "x", "attributes": { "enabled": false } }));
    // The tests' clock is at 2026-01-01.
    azure.set_with("old", json!({ "value": "x", "attributes": { "exp": 1_767_225_000 } }));
    azure.set_with("new", json!({ "value": "x", "attributes": { "nbf": 1_767_312_000 } }));
    azure.set_with("soon", json!({ "value": "x", "attributes": { "nbf": 1_767_225_603 } }));
    azure.set_with("now", json!({ "value": "x", "attributes": { "nbf": 1_767_225_000, "exp": 1_767_312_000 } }));
    azure.set("gone", "x");
    azure.delete("gone");
    run(async {
        let instance = known(&azure);
        let now = instance.fetch("azure:now").await.expect("it is in its time");
        // The tests' clock runs.
        let Term::Until(left) = now.term else { panic!("{:?}", now.term) };
        assert!((86_300..=86_400).contains(&left.as_secs()), "{left:?}");
        assert_eq!(instance.value("azure:now").await, b"x");
        let denied = ErrorKind::Denied;
        assert_text(
            &instance.error("azure:off").await,
            denied,
            "`off` of the vault `127`: it is disabled",
            "--enabled true",
        );
        assert_text(&instance.error("azure:old").await, denied, "it has expired", "--expires");
        assert_text(&instance.error("azure:new").await, denied, "it is not valid yet", "--not-before");
        // Two clocks may differ by some seconds.
        let soon = instance.error("azure:soon").await;
        assert_text(&soon, ErrorKind::Unavailable, "it is not valid yet", "");
        assert!(soon.retry_after.is_some_and(|wait| wait <= std::time::Duration::from_secs(3)));
        let gone = instance.error("azure:gone").await;
        assert_text(&gone, ErrorKind::NotFound, "it was deleted, and can be recovered", "az keyvault secret recover");
        assert_text(&instance.error("azure:none").await, ErrorKind::NotFound, "there is no such secret", "");
    });
}
