//! `token`, and no `auth` at all.

use handfast_core::ErrorKind;
use handfast_testkit::{Instance, Outside, run};
use handfast_testservers::Directory;
use handfast_vault::DEFINITION;
use serde_json::json;

use super::{Guarded, assert_text, settings};
use crate::support::variables;

#[test]
fn a_token_from_a_variable_a_named_variable_and_a_file() {
    let Some(guarded) = Guarded::new() else { return };
    let token = guarded.vault.token(&guarded.policies());
    let with = |name: &str| Outside {
        variables: variables(guarded.vault).with_credential(name, &token),
        ..Outside::default()
    };
    guarded.logs_in_with(Default::default(), with("VAULT_TOKEN"));
    guarded.logs_in_with(settings([("method", "token")]), with("VAULT_TOKEN"));
    guarded.logs_in_with(settings([("method", "token"), ("token_env", "DB_STORE_TOKEN")]), with("DB_STORE_TOKEN"));
    let directory = Directory::new();
    for (name, content) in [("sink", token.clone()), ("echo", format!("{token}\n")), ("dos", format!("{token}\r\n"))] {
        directory.write(name, content);
        guarded.logs_in([("method", "token"), ("token_file", &directory.file(name))]);
    }
}

#[test]
fn auth_in_the_configuration_takes_precedence_over_vault_token() {
    let Some(guarded) = Guarded::new() else { return };
    let directory = Directory::new();
    directory.write("token", guarded.vault.token(&guarded.policies()));
    let variables = variables(guarded.vault).with_credential("VAULT_TOKEN", "hvs.of-nobody");
    let auth = settings([("method", "token"), ("token_file", &directory.file("token"))]);
    guarded.logs_in_with(auth, Outside { variables, ..Outside::default() });
}

#[test]
fn vault_token_takes_precedence_over_vault_auth_method() {
    let Some(guarded) = Guarded::new() else { return };
    let variables = variables(guarded.vault)
        .with_credential("VAULT_TOKEN", &guarded.vault.token(&guarded.policies()))
        .with("VAULT_AUTH_METHOD", "approle");
    guarded.logs_in_with(Default::default(), Outside { variables, ..Outside::default() });
}

#[test]
fn a_wrapped_token_is_unwrapped_once() {
    let Some(guarded) = Guarded::new() else { return };
    let wrapped = || guarded.vault.wrapped("POST", "auth/token/create", json!({ "policies": guarded.policies() }));
    let directory = Directory::new();
    directory.write("token", wrapped());
    let auth = || [("method", "token".to_owned()), ("token_file", directory.file("token")), ("wrapped", "true".into())];
    let auth = auth();
    let auth = [(auth[0].0, &*auth[0].1), (auth[1].0, &*auth[1].1), (auth[2].0, &*auth[2].1)];
    // Two secrets in one start need one unwrapping.
    run(async {
        let outside = Outside { variables: variables(guarded.vault), ..Outside::default() };
        let instance = Instance::from_settings(&DEFINITION, settings(auth), outside);
        instance.value(&guarded.reference()).await;
        instance.value(&guarded.reference()).await;
    });
    guarded.fails_with(
        auth,
        &["cannot unwrap the token", "its time is over, or it was opened before", "someone else may have"],
    );
    // A wrapping token with other content.
    directory.write("token", guarded.vault.wrapped("GET", "sys/mounts", json!(null)));
    guarded.fails_with(auth, &["the wrapping token holds no token"]);
    // A token that is not a wrapping token.
    directory.write("token", guarded.vault.token(&guarded.policies()));
    let error = guarded.refuses(auth);
    assert_text(&error, &["cannot unwrap the token"]);
    // The same with VAULT_TOKEN.
    let variables = variables(guarded.vault).with_credential("VAULT_TOKEN", &wrapped());
    let auth = settings([("method", "token"), ("wrapped", "true")]);
    guarded.logs_in_with(auth, Outside { variables, ..Outside::default() });
}

#[test]
fn a_token_without_uses_left_is_denied() {
    let Some(guarded) = Guarded::new() else { return };
    let token = guarded.vault.token_with(json!({ "policies": guarded.policies(), "num_uses": 1 }));
    run(async {
        let variables = variables(guarded.vault).with_credential("VAULT_TOKEN", &token);
        let outside = Outside { variables, ..Outside::default() };
        let instance = Instance::from_settings(&DEFINITION, Default::default(), outside);
        instance.value(&guarded.reference()).await;
        assert_eq!(instance.error(&guarded.reference()).await.kind, ErrorKind::Denied);
    });
}

#[test]
fn a_missing_credential_is_reported_before_anything_is_sent() {
    let Some(guarded) = Guarded::new() else { return };
    assert_text(
        &guarded.refuses_with(Default::default(), variables(guarded.vault)),
        &["nothing to log in to Vault with"],
    );
    guarded.fails_with([("method", "token"), ("token_env", "NOT_THERE")], &["`NOT_THERE` is not set"]);
}
