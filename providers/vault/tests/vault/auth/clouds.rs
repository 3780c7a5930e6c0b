//! Logins with a cloud's identity for the machine: `gcp` and `azure`. (`aws` is tested with the binary, which passes the identity
//! in.)

use std::net::TcpListener;

use handfast_core::ErrorKind;
use handfast_testkit::{Outside, Variables, run, table, text};
use handfast_testservers::{AzureMetadata, Directory, LINK_LOCAL, ROLE, Server, in_own_network, random};
use serde_json::{Value, json};

use super::{Guarded, assert_text, fetch, settings, vault_responding};
use crate::support::variables;

#[test]
fn gcp_by_the_metadata_service_and_by_a_file() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, google, directory) = (random("gcp-"), guarded.vault.google(), Directory::new());
    guarded.vault.enable_gcp(&mount, &guarded.policies());
    let outside = || Outside {
        variables: variables(guarded.vault)
            .with("GCE_METADATA_HOST", &google.metadata_host())
            .with("VAULT_AUTH_METHOD", "gcp")
            .with("VAULT_PATH", &mount)
            .with("VAULT_ROLE", ROLE),
        ..Outside::default()
    };
    guarded.logs_in_with(settings([("method", "gcp"), ("mount", &mount), ("role", ROLE)]), outside());
    guarded.logs_in_with(Default::default(), outside());
    let request =
        google.requests().into_iter().find(|request| request.path.contains("/identity?audience=http%3A%2F%2Fvault"));
    let request = request.expect("the metadata service got a request");
    assert_eq!(request.header("metadata-flavor"), Some("Google"));
    assert_eq!(request.query("format"), Some("full"));

    directory.write("jwt", google.token("vault/web"));
    let file = directory.file("jwt");
    let auth = |role| [("method", "gcp"), ("mount", &*mount), ("role", role), ("jwt_file", &*file)];
    guarded.logs_in(auth(ROLE));
    guarded.fails_with(auth("not-there"), &["cannot log in to Vault by `gcp`", "there is no such role"]);
    directory.write("jwt", google.token("vault/another"));
    guarded.fails_with(auth(ROLE), &["the token is for another audience"]);
    directory.write("jwt", "no-token");
    guarded.fails_with(auth(ROLE), &["it is no token that Vault can read"]);
    // A role for other machines.
    let role = json!({ "type": "gce", "bound_projects": ["another"], "token_policies": guarded.policies() });
    guarded.vault.must("POST", &format!("auth/{mount}/role/other"), role);
    directory.write("jwt", google.token("vault/other"));
    guarded.fails_with(auth("other"), &["the role is not for this machine"]);
}

#[test]
fn a_machine_without_an_identity() {
    let Some(guarded) = Guarded::new() else { return };
    // A test server: a metadata service without a service account.
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let server = Server::json(listener, None, |_| (404, json!({})));
    let host = server.address().replace("http://", "");
    let auth = || settings([("method", "gcp"), ("role", ROLE)]);
    let error = guarded.refuses_with(auth(), variables(guarded.vault).with("GCE_METADATA_HOST", &host));
    assert_text(&error, &["cannot get an identity token of this machine", "404", "identity of its own", "`jwt_file`"]);
    // No server is there, which may be temporary.
    drop(server);
    let variables = variables(guarded.vault).with("GCE_METADATA_HOST", &host);
    let error = run(fetch(auth(), Outside { variables, ..Outside::default() }, "vault:kv/db"));
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_text(&error, &["cannot get an identity token of this machine: cannot ask http://127.0.0.1:"]);
    let variables = crate::support::variables(guarded.vault).with("GCE_METADATA_HOST", "a b");
    assert_text(&guarded.refuses_with(auth(), variables), &["is no host"]);
}

/// Vault's azure method cannot use a local authority, so no login can succeed here. This tests only the request: it must have the
/// token and the machine from the metadata service. Both servers are test servers.
#[test]
fn azure_sends_vault_the_data_of_the_metadata_service() {
    let login = in_own_network(|| {
        let metadata = AzureMetadata::serve(TcpListener::bind((LINK_LOCAL, 80)).expect("the network is ours"));
        let vault = vault_responding(500, "service principal not authorized: 1");
        let settings = |role: &str| {
            let mut with = settings([("method", "azure"), ("mount", "clouds/azure"), ("role", role)]);
            with.merge(table([("address", text(&vault.address()))]));
            with
        };
        let with_id = Variables::default().with("AZURE_CLIENT_ID", "id of one of several");
        for variables in [Variables::default(), with_id] {
            let error = run(fetch(settings("web"), Outside { variables, ..Outside::default() }, "vault:kv/db"));
            assert_text(&error, &["cannot log in to Vault by `azure` at `auth/clouds/azure`"]);
        }
        let requests = metadata.requests();
        assert!(requests.iter().all(|request| request.header("metadata") == Some("true")));
        assert_eq!(requests[0].query("client_id"), None);
        assert_eq!(requests[2].query("client_id"), Some("id+of+one+of+several"));
        let login = sent(&vault);
        let token = login["jwt"].as_str().expect("a token").to_owned();
        assert_eq!(metadata.audience_of(&token).as_deref(), Some("https://management.azure.com/"));
        login
    });
    let Some(mut login) = login else { return };
    login["jwt"].take();
    assert_eq!(
        login,
        json!({
            "role": "web", "jwt": null, "vm_name": "web-0", "vmss_name": "", "resource_group_name": "tests",
            "subscription_id": "12345678-1234-1234-1234-123456789012",
        })
    );
}

/// As above, this tests only the request.
#[test]
fn azure_with_a_file_sends_no_machine() {
    let (vault, directory) = (vault_responding(500, "service principal not authorized: 1"), Directory::new());
    directory.write("jwt", "eyJ.of.azure\n");
    let mut with = settings([("method", "azure"), ("role", "web"), ("jwt_file", &directory.file("jwt"))]);
    with.merge(table([("address", text(&vault.address()))]));
    let error = run(fetch(with, Outside::default(), "vault:kv/db"));
    assert_eq!(error.kind, ErrorKind::Denied);
    assert_text(&error, &["the role is not for this machine or identity"]);
    assert_eq!(sent(&vault), json!({ "role": "web", "jwt": "eyJ.of.azure" }));
}

fn sent(vault: &Server) -> Value {
    let requests = vault.requests();
    let login = requests.first().expect("there was a login");
    assert!(login.method == "POST" && login.path.ends_with("azure/login"), "{} {}", login.method, login.path);
    login.json()
}

/// The real method, with a token that none of its authorities has signed.
#[test]
fn azure_with_a_token_that_vault_refuses() {
    let Some(guarded) = Guarded::new() else { return };
    let (mount, directory) = (random("azure-"), Directory::new());
    guarded.vault.must("POST", &format!("sys/auth/{mount}"), json!({ "type": "azure" }));
    directory.write("jwt", "eyJ.of.nobody");
    let file = directory.file("jwt");
    let auth = [("method", "azure"), ("mount", &*mount), ("role", "not-there"), ("jwt_file", &*file)];
    guarded.fails_with(auth, &["there is no such role"]);
}
