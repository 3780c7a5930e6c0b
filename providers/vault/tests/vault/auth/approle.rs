//! `approle`.

use std::time::{Duration, Instant};

use handfast_core::Upkeep;
use handfast_testkit::{Instance, Outside, TestClock, run};
use handfast_testservers::{AppRole, Directory, ROLE, random};
use handfast_vault::DEFINITION;
use serde_json::json;

use super::{Guarded, assert_text, fetch, settings};
use crate::support::variables;

fn enabled(guarded: &Guarded) -> (String, AppRole) {
    let mount = random("approle-");
    let role = guarded.vault.enable_approle(&mount, &guarded.policies());
    (mount, role)
}

#[test]
fn ids_from_variables_named_variables_and_files() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, AppRole { role_id, secret_id }) = enabled(&guarded);
    let outside = || Outside {
        variables: variables(guarded.vault)
            .with("VAULT_AUTH_METHOD", "approle")
            .with("VAULT_PATH", &mount)
            .with("VAULT_ROLE_ID", &role_id)
            .with("MY_ROLE_ID", &role_id)
            .with_credential("VAULT_SECRET_ID", &secret_id)
            .with_credential("MY_SECRET_ID", &secret_id),
        ..Outside::default()
    };
    guarded.logs_in_with(Default::default(), outside());
    guarded.logs_in_with(settings([("method", "approle"), ("mount", &mount)]), outside());
    let named = [("role_id_env", "MY_ROLE_ID"), ("secret_id_env", "MY_SECRET_ID")];
    guarded.logs_in_with(settings([("method", "approle"), ("mount", &mount), named[0], named[1]]), outside());
    let directory = Directory::new();
    directory.write("role-id", format!("{role_id}\n"));
    directory.write("secret-id", format!("{secret_id}\n"));
    let files = [("role_id_file", &*directory.file("role-id")), ("secret_id_file", &*directory.file("secret-id"))];
    guarded.logs_in([("method", "approle"), ("mount", &mount), files[0], files[1]]);
    guarded.logs_in([("method", "approle"), ("mount", &mount), ("role_id", &role_id), files[1]]);
}

#[test]
fn a_mount_path_can_be_nested_and_have_the_form_of_vaults_tools() {
    let Some(guarded) = Guarded::new() else { return };
    let mount = format!("team a/{}", random("approle-"));
    let AppRole { role_id, secret_id } = guarded.vault.enable_approle(&mount.replace(' ', "%20"), &guarded.policies());
    let directory = Directory::new();
    directory.write("secret-id", secret_id);
    for written in [mount.clone(), format!("auth/{mount}/"), format!("/{mount}/")] {
        let file = directory.file("secret-id");
        guarded.logs_in([("method", "approle"), ("mount", &written), ("role_id", &role_id), ("secret_id_file", &file)]);
    }
}

#[test]
fn a_wrapped_secret_id_is_unwrapped_once() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, AppRole { role_id, .. }) = enabled(&guarded);
    let wrapped = guarded.vault.wrapped("POST", &format!("auth/{mount}/role/{ROLE}/secret-id"), json!({}));
    let directory = Directory::new();
    directory.write("secret-id", &wrapped);
    let file = directory.file("secret-id");
    let auth = [
        ("method", "approle"),
        ("mount", &*mount),
        ("role_id", &*role_id),
        ("secret_id_file", &*file),
        ("wrapped", "true"),
    ];
    guarded.logs_in(auth);
    let error = guarded.refuses(auth);
    assert_text(&error, &["cannot unwrap the secret id", "it was opened before", "someone else may have"]);
    assert!(!format!("{error:?}").contains(&wrapped));
    // With VAULT_SECRET_ID, as in a container.
    let wrapped = guarded.vault.wrapped("POST", &format!("auth/{mount}/role/{ROLE}/secret-id"), json!({}));
    let variables = variables(guarded.vault).with_credential("VAULT_SECRET_ID", &wrapped);
    let auth = settings([("method", "approle"), ("mount", &mount), ("role_id", &role_id), ("wrapped", "true")]);
    guarded.logs_in_with(auth, Outside { variables, ..Outside::default() });
    // A wrapping token with other content.
    directory.write("secret-id", guarded.vault.wrapped("POST", "auth/token/create", json!({})));
    let auth = [
        ("method", "approle"),
        ("mount", &*mount),
        ("role_id", &*role_id),
        ("secret_id_file", &*file),
        ("wrapped", "true"),
    ];
    guarded.fails_with(auth, &["the wrapping token holds no secret id"]);
}

#[test]
fn a_retried_login_does_not_unwrap_again() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, AppRole { role_id, .. }) = enabled(&guarded);
    let path = format!("auth/{mount}/role/{ROLE}/secret-id");
    let variables =
        variables(guarded.vault).with_credential("VAULT_SECRET_ID", &guarded.vault.wrapped("POST", &path, json!({})));
    let auth = settings([("method", "approle"), ("mount", &mount), ("role_id", &role_id), ("wrapped", "true")]);
    run(async {
        let outside = Outside { variables, ..Outside::default() };
        let clock = outside.clock.clone();
        let instance = Instance::from_settings(&DEFINITION, auth, outside);
        // The role is deleted and created again. The unwrapped secret id must still be there when the pause after the refusal
        // ends.
        let role = format!("auth/{mount}/role/{ROLE}/role-id");
        guarded.vault.must("POST", &role, json!({ "role_id": "another" }));
        assert_text(&instance.error(&guarded.reference()).await, &["the role id is not valid"]);
        guarded.vault.must("POST", &role, json!({ "role_id": role_id }));
        assert_text(&instance.error(&guarded.reference()).await, &["the role id is not valid"]);
        clock.advance(Duration::from_secs(5 * 60));
        instance.value(&guarded.reference()).await;
    });
}

#[test]
fn a_role_without_a_secret_id_gets_none() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, AppRole { role_id, .. }) = enabled(&guarded);
    let auth = [("method", "approle"), ("mount", &*mount), ("role_id", &*role_id)];
    guarded.fails_with(auth, &["the role asks for a secret id, and there is none", "VAULT_SECRET_ID"]);
    let role = json!({ "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.1/32"] });
    guarded.vault.must("POST", &format!("auth/{mount}/role/{ROLE}"), role);
    guarded.logs_in(auth);
}

#[test]
fn ids_that_vault_refuses() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, AppRole { role_id, .. }) = enabled(&guarded);
    let directory = Directory::new();
    let file = directory.file("secret-id");
    let auth = [("method", "approle"), ("mount", &*mount), ("role_id", &*role_id), ("secret_id_file", &*file)];
    let expected = ["the secret id is not valid: it has expired, is used up, was revoked", "makes a new one"];
    // Secret ids that are used up, have expired, or never existed.
    directory.write("secret-id", guarded.vault.secret_id(&mount, json!({ "num_uses": 1 })));
    guarded.logs_in(auth);
    guarded.fails_with(auth, &expected);
    let expired = guarded.vault.secret_id(&mount, json!({ "ttl": "1s" }));
    directory.write("secret-id", &expired);
    let login = || {
        let ids = json!({ "role_id": role_id, "secret_id": expired });
        guarded.vault.api_as("", "POST", &format!("auth/{mount}/login"), ids).0
    };
    // Vault removes expired secret ids only from time to time, and accepts them until then.
    let started = Instant::now();
    while login() == 200 {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not expire");
        guarded.vault.must("POST", &format!("auth/{mount}/tidy/secret-id"), json!({}));
        std::thread::sleep(Duration::from_millis(100));
    }
    guarded.fails_with(auth, &expected);
    let canary = random("secret-id-");
    directory.write("secret-id", &canary);
    let error = guarded.refuses(auth);
    assert_text(&error, &expected);
    assert!(!format!("{error:?}").contains(&canary));
    // The login is not allowed from this address.
    let bound = guarded.vault.secret_id(&mount, json!({ "cidr_list": ["192.0.2.0/24"] }));
    directory.write("secret-id", bound);
    guarded.fails_with(auth, &["not allowed from this machine's address"]);
    let auth = [("method", "approle"), ("mount", &*mount), ("role_id", "nobody"), ("secret_id_file", &*file)];
    guarded.fails_with(auth, &["the role id is not valid"]);
}

#[test]
fn a_missing_mount_and_a_perhaps_wrong_namespace() {
    let Some(guarded) = Guarded::new() else { return };
    let auth = [("method", "approle"), ("mount", "not/there"), ("role_id", "x")];
    let file = Directory::new();
    file.write("secret-id", "x");
    guarded.fails_with(auth, &["`auth/not/there`", "`mount`", "VAULT_PATH", "VAULT_NAMESPACE"]);
    // A Vault without namespaces ignores the header, so this tests only the hint.
    let error = run(async {
        let variables = variables(guarded.vault).with("VAULT_NAMESPACE", "team-b");
        fetch(settings(auth), Outside { variables, ..Outside::default() }, &guarded.reference()).await
    });
    assert_text(&error, &["in the namespace `team-b`"]);
}

/// What the token is good for cannot be known then.
#[test]
fn a_clock_that_is_set_makes_the_login_due() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, AppRole { role_id, secret_id }) = enabled(&guarded);
    let directory = Directory::new();
    directory.write("secret-id", secret_id);
    let file = directory.file("secret-id");
    let auth = [("method", "approle"), ("mount", &*mount), ("role_id", &*role_id), ("secret_id_file", &*file)];
    let clock = TestClock::default();
    run(async {
        let outside = Outside { variables: variables(guarded.vault), clock: clock.clone(), ..Outside::default() };
        let instance = Instance::from_settings(&DEFINITION, settings(auth), outside);
        let login = async || {
            instance.value(&guarded.reference()).await;
            instance.provider().upkeep(Upkeep::Inspect).await.expect("it answers").expect("it ends").number
        };
        assert_eq!(login().await, 1);
        clock.advance(Duration::from_secs(10 * 365 * 24 * 3600));
        assert_eq!((login().await, login().await), (2, 2));
    });
}
