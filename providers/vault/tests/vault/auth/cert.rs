//! `cert`: a client certificate.

use handfast_core::{Table, Upkeep};
use handfast_testkit::{Outside, run, table, text};
use handfast_testservers::{Authority, Directory, Identity, random};
use serde_json::json;

use super::{Guarded, assert_text, fetch, settings, vault_responding};
use crate::support::{connect, variables};

fn written(identity: &Identity, directory: &Directory) -> (String, String) {
    identity.write(directory, "client")
}

#[test]
fn cert() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, authority, directory) = (random("cert-"), Authority::new(), Directory::new());
    let identity = guarded.vault.enable_cert(&mount, &authority, &guarded.policies());
    let (certificate, key) = written(&identity, &directory);
    let files = [("cert_file", &*certificate), ("key_file", &*key)];
    guarded.logs_in([("method", "cert"), ("mount", &mount), files[0], files[1]]);
    guarded.logs_in([("method", "cert"), ("mount", &mount), ("role", "web"), files[0], files[1]]);
    let outside = || Outside {
        variables: variables(guarded.vault)
            .with("VAULT_CLIENT_CERT", &certificate)
            .with("VAULT_CLIENT_KEY", &key)
            .with("VAULT_AUTH_METHOD", "cert")
            .with("VAULT_PATH", &mount),
        ..Outside::default()
    };
    guarded.logs_in_with(settings([("method", "cert"), ("mount", &mount)]), outside());
    guarded.logs_in_with(Table::default(), outside());
    // `auth` takes precedence over the variables.
    let auth = settings([("method", "cert"), ("mount", &mount), files[0], files[1]]);
    let variables = variables(guarded.vault).with("VAULT_CLIENT_CERT", "/none").with("VAULT_CLIENT_KEY", "/none");
    guarded.logs_in_with(auth, Outside { variables, ..Outside::default() });
    guarded.fails_with([("method", "cert"), ("mount", &mount)], &["there is no client certificate", "`cert_file`"]);
}

/// A certificate is valid for days, and a keeper runs for months.
#[test]
fn a_new_login_reads_the_certificate_files_again() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, directory) = (random("cert-"), Directory::new());
    let (certificate, key) =
        written(&guarded.vault.enable_cert(&mount, &Authority::new(), &guarded.policies()), &directory);
    let auth = [("method", "cert"), ("mount", &*mount), ("cert_file", &*certificate), ("key_file", &*key)];
    run(async {
        let instance = connect(settings(auth), variables(guarded.vault));
        instance.value(&guarded.reference()).await;
        let next = Authority::named("the next authority");
        let role = json!({ "certificate": next.pem(), "token_policies": guarded.policies() });
        guarded.vault.must("POST", &format!("auth/{mount}/certs/web"), role);
        written(&next.client("web.example.org"), &directory);
        let standing = instance.provider().upkeep(Upkeep::Replace).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(standing.expect("it ends").number, 2);
        // The file is incomplete.
        directory.write("client.key", "");
        let error = instance.provider().upkeep(Upkeep::Replace).await.map(|_| ()).expect_err("no key");
        assert!(error.message.starts_with("cannot use the client key of "), "{error}");
        written(&next.client("web.example.org"), &directory);
        assert!(instance.provider().upkeep(Upkeep::Replace).await.is_ok());
    });
}

#[test]
fn a_client_certificate_that_no_role_accepts() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, authority, directory) = (random("cert-"), Authority::new(), Directory::new());
    let right = guarded.vault.enable_cert(&mount, &authority, &guarded.policies());
    let role = json!({ "certificate": authority.pem(), "allowed_dns_sans": "other.example.org" });
    guarded.vault.must("POST", &format!("auth/{mount}/certs/narrow"), role);
    let stranger = Authority::named("another authority").client("web.example.org");
    let expected = ["cannot log in to Vault by `cert`", "no role takes this client certificate"];
    // An expired certificate of the right authority.
    let expired = authority.server_for(&["web.example.org"], (2020, 2021));
    for (identity, role) in [(&stranger, "web"), (&right, "narrow"), (&right, "not-there"), (&expired, "web")] {
        let (certificate, key) = written(identity, &directory);
        let files = [("cert_file", &*certificate), ("key_file", &*key)];
        guarded.fails_with([("method", "cert"), ("mount", &mount), ("role", role), files[0], files[1]], &expected);
    }
}

#[test]
fn unusable_files_of_a_client_certificate() {
    let Some(guarded) = Guarded::new() else { return };
    let (authority, directory) = (Authority::new(), Directory::new());
    let (certificate, key) = written(&authority.client("web"), &directory);
    let another = authority.client("another");
    directory.write("another.key", &another.key);
    for (certificate, key, text) in [
        ("/not/there.pem", &*key, "cannot read `/not/there.pem`"),
        (&*certificate, "/not/there.key", "cannot read `/not/there.key`"),
        (&*certificate, &*directory.file("another.key"), "it does not belong to the certificate"),
        (&*key, &*key, "cannot use the client certificate"),
    ] {
        guarded.fails_with([("method", "cert"), ("cert_file", certificate), ("key_file", key)], &[text]);
    }
}

/// A test server that responds as Vault does behind a load balancer that ends TLS.
#[test]
fn a_vault_behind_a_load_balancer_that_ends_tls_does_not_get_the_certificate() {
    let server = vault_responding(400, "client certificate must be supplied");
    let (authority, directory) = (Authority::new(), Directory::new());
    let (certificate, key) = written(&authority.client("web"), &directory);
    let mut with = settings([("method", "cert"), ("cert_file", &certificate), ("key_file", &key)]);
    with.merge(table([("address", text(&server.address()))]));
    let error = run(fetch(with, Outside::default(), "vault:kv/db"));
    assert_text(&error, &["no client certificate has reached Vault", "load balancer"]);
}
