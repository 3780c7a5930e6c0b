//! `approle`.

use std::time::{Duration, Instant};

use handfast_core::Upkeep;
use handfast_testkit::{Instance, Outside, TestClock, run};
use handfast_testservers::{AppRole, Directory, ROLE, random};
use handfast_vault::DEFINITION;
use serde_json::json;

use super::{Guarded, fetch, said, settings};
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
    guarded.opens_with(Default::default(), outside());
    guarded.opens_with(settings([("method", "approle"), ("mount", &mount)]), outside());
    let named = [("role_id_env", "MY_ROLE_ID"), ("secret_id_env", "MY_SECRET_ID")];
    guarded.opens_with(settings([("method", "approle"), ("mount", &mount), named[0], named[1]]), outside());
    let directory = Directory::new();
    directory.write("role-id", format!("{role_id}\n"));
    directory.write("secret-id", format!("{secret_id}\n"));
    let files = [("role_id_file", &*directory.file("role-id")), ("secret_id_file", &*directory.file("secret-id"))];
    guarded.opens([("method", "approle"), ("mount", &mount), files[0], files[1]]);
    guarded.opens([("method", "approle"), ("mount", &mount), ("role_id", &role_id), files[1]]);
}

#[test]
fn a_mount_path_can_be_nested_and_be_written_as_vaults_own_tools_show_it() {
    let Some(guarded) = Guarded::new() else { return };
    let mount = format!("team a/{}", random("approle-"));
    let AppRole { role_id, secret_id } = guarded.vault.enable_approle(&mount.replace(' ', "%20"), &guarded.policies());
    let directory = Directory::new();
    directory.write("secret-id", secret_id);
    for written in [mount.clone(), format!("auth/{mount}/"), format!("/{mount}/")] {
        let file = directory.file("secret-id");
        guarded.opens([("method", "approle"), ("mount", &written), ("role_id", &role_id), ("secret_id_file", &file)]);
    }
}

#[test]
fn a_wrapped_secret_id_is_opened_once() {
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
    guarded.opens(auth);
    let error = guarded.refuses(auth);
    said(&error, &["cannot unwrap the secret id", "it was opened before", "someone else may have"]);
    assert!(!format!("{error:?}").contains(&wrapped));
    // As it is handed to a container: by VAULT_SECRET_ID.
    let wrapped = guarded.vault.wrapped("POST", &format!("auth/{mount}/role/{ROLE}/secret-id"), json!({}));
    let variables = variables(guarded.vault).with_credential("VAULT_SECRET_ID", &wrapped);
    let auth = settings([("method", "approle"), ("mount", &mount), ("role_id", &role_id), ("wrapped", "true")]);
    guarded.opens_with(auth, Outside { variables, ..Outside::default() });
    // A wrapping token with something else in it.
    directory.write("secret-id", guarded.vault.wrapped("POST", "auth/token/create", json!({})));
    let auth = [
        ("method", "approle"),
        ("mount", &*mount),
        ("role_id", &*role_id),
        ("secret_id_file", &*file),
        ("wrapped", "true"),
    ];
    guarded.must_say(auth, &["the wrapping token holds no secret id"]);
}

#[test]
fn a_login_that_is_tried_again_opens_the_wrapping_token_no_second_time() {
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
        // The role is gone, and comes back: what was opened must still be there, once it is time to show it again.
        let role = format!("auth/{mount}/role/{ROLE}/role-id");
        guarded.vault.must("POST", &role, json!({ "role_id": "another" }));
        said(&instance.error(&guarded.reference()).await, &["the role id is not valid"]);
        guarded.vault.must("POST", &role, json!({ "role_id": role_id }));
        said(&instance.error(&guarded.reference()).await, &["the role id is not valid"]);
        clock.advance(Duration::from_secs(5 * 60));
        instance.value(&guarded.reference()).await;
    });
}

#[test]
fn a_role_that_asks_for_no_secret_id_is_given_none() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, AppRole { role_id, .. }) = enabled(&guarded);
    let auth = [("method", "approle"), ("mount", &*mount), ("role_id", &*role_id)];
    guarded.must_say(auth, &["the role asks for a secret id, and there is none", "VAULT_SECRET_ID"]);
    let role = json!({ "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.1/32"] });
    guarded.vault.must("POST", &format!("auth/{mount}/role/{ROLE}"), role);
    guarded.opens(auth);
}

#[test]
fn ids_that_vault_does_not_take() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, AppRole { role_id, .. }) = enabled(&guarded);
    let directory = Directory::new();
    let file = directory.file("secret-id");
    let auth = [("method", "approle"), ("mount", &*mount), ("role_id", &*role_id), ("secret_id_file", &*file)];
    let expected = ["the secret id is not valid: it has expired, is used up, was revoked", "makes a new one"];
    // Used up, expired, never there.
    directory.write("secret-id", guarded.vault.secret_id(&mount, json!({ "num_uses": 1 })));
    guarded.opens(auth);
    guarded.must_say(auth, &expected);
    let expired = guarded.vault.secret_id(&mount, json!({ "ttl": "1s" }));
    directory.write("secret-id", &expired);
    let login = || {
        let ids = json!({ "role_id": role_id, "secret_id": expired });
        guarded.vault.api_as("", "POST", &format!("auth/{mount}/login"), ids).0
    };
    // Vault looks for expired ones now and then, and lets them in until it has.
    let started = Instant::now();
    while login() == 200 {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not expire");
        guarded.vault.must("POST", &format!("auth/{mount}/tidy/secret-id"), json!({}));
        std::thread::sleep(Duration::from_millis(100));
    }
    guarded.must_say(auth, &expected);
    let canary = random("secret-id-");
    directory.write("secret-id", &canary);
    let error = guarded.refuses(auth);
    said(&error, &expected);
    assert!(!format!("{error:?}").contains(&canary));
    // Not from here.
    let bound = guarded.vault.secret_id(&mount, json!({ "cidr_list": ["192.0.2.0/24"] }));
    directory.write("secret-id", bound);
    guarded.must_say(auth, &["not allowed from this machine's address"]);
    let auth = [("method", "approle"), ("mount", &*mount), ("role_id", "nobody"), ("secret_id_file", &*file)];
    guarded.must_say(auth, &["the role id is not valid"]);
}

#[test]
fn a_mount_that_is_not_there_and_a_namespace_that_may_be_wrong() {
    let Some(guarded) = Guarded::new() else { return };
    let auth = [("method", "approle"), ("mount", "not/there"), ("role_id", "x")];
    let file = Directory::new();
    file.write("secret-id", "x");
    guarded.must_say(auth, &["`auth/not/there`", "`mount`", "VAULT_PATH", "VAULT_NAMESPACE"]);
    // Vault without namespaces ignores the header: only the hint can be seen here.
    let error = run(async {
        let variables = variables(guarded.vault).with("VAULT_NAMESPACE", "team-b");
        fetch(settings(auth), Outside { variables, ..Outside::default() }, &guarded.reference()).await
    });
    said(&error, &["in the namespace `team-b`"]);
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
