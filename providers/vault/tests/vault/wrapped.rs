//! Wrapped secrets: each can be unwrapped only once.

use handfast_core::ErrorKind;
use handfast_testkit::run;
use handfast_testservers::{Vault, random};
use serde_json::{Value, json};

use crate::support::as_token;

const UNWRAP: &str = "vault:sys/wrapping/unwrap";

#[test]
fn a_wrapped_secret_is_unwrapped_once() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("kv-");
    vault.enable_kv(&mount, 1);
    vault.must("POST", &format!("{mount}/web/db"), json!({ "password": "wrapped" }));
    let wrapping = vault.wrapped("GET", &format!("{mount}/web/db"), Value::Null);
    run(async {
        assert_eq!(as_token(vault, &wrapping).value(UNWRAP).await, br#"{"password":"wrapped"}"#);
        let error = as_token(vault, &wrapping).error(UNWRAP).await;
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(error.message.ends_with("its time is over, or it was opened before"), "{error}");
        let hint = error.hint.expect("there is a hint");
        assert!(hint.contains("someone else may have"), "{hint}");
    });
}

#[test]
fn data_that_exist_only_in_the_wrapping() {
    let Some(vault) = Vault::shared() else { return };
    let wrapping = vault.wrapped("POST", "sys/wrapping/wrap", json!({ "password": "once" }));
    run(async {
        let instance = as_token(vault, &wrapping);
        assert_eq!(instance.value(UNWRAP).await, br#"{"password":"once"}"#);
        // The same start requests it again, so it may have unwrapped it itself.
        let error = instance.error(UNWRAP).await;
        assert!(error.message.contains("perhaps by this start's own first attempt"), "{error}");
        // A used wrapping token cannot read other secrets either.
        assert_eq!(instance.error("vault:secret/web/db").await.kind, ErrorKind::Denied);
    });
}

#[test]
fn a_wrapped_token_is_not_a_secret() {
    let Some(vault) = Vault::shared() else { return };
    let wrapping = vault.wrapped("POST", "auth/token/create", json!({ "policies": ["default"] }));
    run(async {
        let error = as_token(vault, &wrapping).error(UNWRAP).await;
        assert_eq!(error.kind, ErrorKind::Malformed);
        assert!(error.hint.as_deref().unwrap_or_default().contains("wrapped = true"), "{:?}", error.hint);
    });
}
