//! JSON web tokens: `jwt` and `kubernetes`.

use handfast_core::{Table, Value};
use handfast_testkit::{Instance, Outside, run, table};
use handfast_testservers::{Directory, Issuer, Kubernetes, ROLE, random};
use handfast_vault::DEFINITION;
use serde_json::{Value as Json, json};

use super::{Guarded, assert_text, settings};
use crate::support::variables;

#[test]
fn jwt() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, issuer, directory) = (random("ci/jwt-"), Issuer::new("https://issuer.example.org"), Directory::new());
    guarded.vault.enable_jwt(&mount, &issuer, &guarded.policies());
    let token = issuer.token("any", "vault");
    directory.write("jwt", format!("{token}\n"));
    let file = directory.file("jwt");
    guarded.logs_in([("method", "jwt"), ("mount", &mount), ("role", ROLE), ("jwt_file", &file)]);
    let outside = || Outside {
        variables: variables(guarded.vault)
            .with("VAULT_AUTH_METHOD", "jwt")
            .with("VAULT_PATH", &mount)
            .with("VAULT_ROLE", ROLE)
            .with_credential("VAULT_JWT", &token)
            .with_credential("CI_JOB_JWT", &token),
        ..Outside::default()
    };
    guarded.logs_in_with(Table::default(), outside());
    guarded.logs_in_with(settings([("method", "jwt"), ("mount", &mount), ("role", ROLE)]), outside());
    let named = settings([("method", "jwt"), ("mount", &mount), ("role", ROLE), ("jwt_env", "CI_JOB_JWT")]);
    guarded.logs_in_with(named, outside());
    // Without a role, the mount's default role is used.
    let auth = [("method", "jwt"), ("mount", &*mount), ("jwt_file", &*file)];
    guarded.fails_with(auth, &["no role was named, and the mount has none of its own"]);
    let config = json!({
        "jwt_validation_pubkeys": [issuer.public_key()], "jwt_supported_algs": ["ES256"],
        "bound_issuer": issuer.name(), "default_role": ROLE,
    });
    guarded.vault.must("POST", &format!("auth/{mount}/config"), config);
    guarded.logs_in(auth);
}

#[test]
fn json_web_tokens_that_vault_refuses() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, issuer, directory) = (random("jwt-"), Issuer::new("https://issuer.example.org"), Directory::new());
    guarded.vault.enable_jwt(&mount, &issuer, &guarded.policies());
    let file = directory.file("jwt");
    let auth = |role| [("method", "jwt"), ("mount", &*mount), ("role", role), ("jwt_file", &*file)];
    let refused = |token: &str, role, expected: &str| {
        directory.write("jwt", token);
        let error = guarded.refuses(auth(role));
        assert_text(&error, &["cannot log in to Vault by `jwt`", expected]);
        assert!(!format!("{error:?}").contains(token), "{error:?}");
    };
    let with = |claims: Json| issuer.token_with("any", "vault", claims);
    refused(&issuer.token("any", "vault"), "not-there", "there is no such role");
    refused(&issuer.token("any", "another"), ROLE, "the token is for another audience");
    refused(
        &with(json!({ "exp": 1_700_000_000, "iat": 1_600_000_000, "nbf": 1_600_000_000 })),
        ROLE,
        "the token has expired",
    );
    refused(&with(json!({ "nbf": 4_000_000_000_u64, "exp": 4_000_000_600_u64 })), ROLE, "the token is not valid yet");
    refused(&with(json!({ "iss": "https://another.example.org" })), ROLE, "the token is of another issuer");
    let stranger = Issuer::new(issuer.name());
    refused(&stranger.token("any", "vault"), ROLE, "Vault does not know the key");
    refused("no-token-at-all", ROLE, "it is no token that Vault can read");
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "bound_claims": { "project": "shop" },
    });
    guarded.vault.must("POST", &format!("auth/{mount}/role/bound"), role);
    refused(&issuer.token("any", "vault"), "bound", "the token's claims are not those that the role is bound to");
    refused(&with(json!({ "project": "x" })), "bound", "the token's claims are not those that the role is bound to");
    let role = json!({ "role_type": "jwt", "user_claim": "email", "bound_audiences": ["vault"] });
    guarded.vault.must("POST", &format!("auth/{mount}/role/email"), role);
    refused(&issuer.token("any", "vault"), "email", "the token's claims are not those that the role is bound to");
    let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_subject": "another" });
    guarded.vault.must("POST", &format!("auth/{mount}/role/subject"), role);
    refused(&issuer.token("any", "vault"), "subject", "the token's claims are not those that the role is bound to");
    let role = json!({ "role_type": "oidc", "user_claim": "sub", "allowed_redirect_uris": ["http://localhost/"] });
    guarded.vault.must("POST", &format!("auth/{mount}/role/people"), role);
    refused(&issuer.token("any", "vault"), "people", "the role is one for people with a browser");
    // The method is mounted but not configured.
    let empty = random("jwt-");
    guarded.vault.must("POST", &format!("sys/auth/{empty}"), json!({ "type": "jwt" }));
    guarded.fails_with(
        [("method", "jwt"), ("mount", &empty), ("role", ROLE), ("jwt_file", &file)],
        &["the method is mounted there, and not configured"],
    );
    let empty = random("kubernetes-");
    guarded.vault.must("POST", &format!("sys/auth/{empty}"), json!({ "type": "kubernetes" }));
    let role = json!({ "bound_service_account_names": ["web"], "bound_service_account_namespaces": ["shop"] });
    guarded.vault.must("POST", &format!("auth/{empty}/role/{ROLE}"), role);
    guarded.fails_with(
        [("method", "kubernetes"), ("mount", &empty), ("role", ROLE), ("token_file", &file)],
        &["the method is mounted there, and not configured"],
    );
}

#[test]
fn kubernetes() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, cluster, directory) = (random("clusters/eu/"), Kubernetes::start(), Directory::new());
    guarded.vault.enable_kubernetes(&mount, &cluster, &guarded.policies());
    directory.write("token", cluster.token("shop", "web", Some("vault")));
    let file = directory.file("token");
    for key in ["token_file", "jwt_file"] {
        guarded.logs_in([("method", "kubernetes"), ("mount", &mount), ("role", ROLE), (key, &file)]);
    }
    assert!(cluster.reviews() >= 2);
}

#[test]
fn kubelets_new_token_is_read_at_each_login() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, cluster, directory) = (random("kubernetes-"), Kubernetes::start(), Directory::new());
    guarded.vault.enable_kubernetes(&mount, &cluster, &guarded.policies());
    let expired = json!({ "exp": 1_700_000_000, "iat": 1_600_000_000, "nbf": 1_600_000_000 });
    directory.write("token", cluster.token_with("shop", "web", Some("vault"), expired));
    let file = directory.file("token");
    let auth = settings([("method", "kubernetes"), ("mount", &mount), ("role", ROLE), ("token_file", &file)]);
    run(async {
        let outside = Outside { variables: variables(guarded.vault), ..Outside::default() };
        let instance = Instance::from_settings(&DEFINITION, auth, outside);
        assert_text(&instance.error(&guarded.reference()).await, &["the token has expired"]);
        directory.write("token", cluster.token("shop", "web", Some("vault")));
        instance.value(&guarded.reference()).await;
    });
}

#[test]
fn service_accounts_that_vault_refuses() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, cluster, directory) = (random("kubernetes-"), Kubernetes::start(), Directory::new());
    guarded.vault.enable_kubernetes(&mount, &cluster, &guarded.policies());
    let file = directory.file("token");
    let refused = |token: &str, role, expected: &str| {
        directory.write("token", token);
        let auth = [("method", "kubernetes"), ("mount", &*mount), ("role", role), ("token_file", &*file)];
        let error = guarded.refuses(auth);
        assert_text(&error, &["cannot log in to Vault by `kubernetes`", expected]);
        assert!(!format!("{error:?}").contains(token), "{error:?}");
    };
    let good = cluster.token("shop", "web", Some("vault"));
    refused(&good, "not-there", "there is no such role");
    refused(&cluster.token("shop", "web", None), ROLE, "the token is for another audience");
    let not_this = "the role is not for this pod's service account";
    refused(&cluster.token("shop", "other", Some("vault")), ROLE, not_this);
    refused(&cluster.token("other", "web", Some("vault")), ROLE, not_this);
    refused(
        &Kubernetes::start().token("shop", "web", Some("vault")),
        ROLE,
        "Vault refuses the service account's token",
    );
    refused("no-token-at-all", ROLE, "Vault refuses the service account's token");
    cluster.delete("shop", "web");
    refused(&good, ROLE, "Vault refuses the service account's token");
}

#[test]
fn kubernetes_from_the_environment_reads_kubelets_file() {
    let Some(guarded) = Guarded::new() else { return };
    let variables = variables(guarded.vault).with("VAULT_AUTH_METHOD", "kubernetes").with("VAULT_ROLE", ROLE);
    let error = guarded.refuses_with(Table::default(), variables);
    let file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    assert_text(&error, &["cannot read the service account's token", file, "no such file", "before this start"]);
    let auth = table([
        ("method", Value::String("kubernetes".to_owned().into())),
        ("role", Value::String(ROLE.to_owned().into())),
    ]);
    let error = guarded.refuses_with(table([("auth", Value::Table(auth))]), crate::support::variables(guarded.vault));
    assert_text(&error, &[file]);
}
