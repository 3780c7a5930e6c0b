//! Servers that are unavailable or not trusted, with the exact text of the error. The servers are real where possible.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use handfast_core::{ErrorKind, Value};
use handfast_testkit::{Variables, run, table, text};
use handfast_testservers::{Authority, Directory, Identity, Server, Vault, free_port, random, stranger, write_answer};
use serde_json::json;

use crate::errors::{error_text, refusal};
use crate::support::{connect, variables};

/// The error's text for a Vault at this address, with the authority's certificate in this file.
#[track_caller]
fn reported(address: &str, authority: &Path) -> String {
    let token = random("hvs.");
    let variables = Variables::default()
        .with("VAULT_ADDR", address)
        .with("VAULT_CACERT", &authority.display().to_string())
        .with_credential("VAULT_TOKEN", &token);
    let reported = refusal(table([]), variables, "vault:kv/web/db", None);
    assert!(!reported.contains(&token), "{reported}");
    reported
}

/// The same for an authority of the tests.
#[track_caller]
fn reported_by(address: &str, authority: &Authority) -> String {
    let directory = Directory::new();
    reported(address, &directory.write("ca.pem", authority.pem()))
}

#[test]
fn an_uninitialised_and_a_sealed_server_are_temporary() {
    let authority = Authority::new();
    let Some(mut vault) = Vault::with_file_storage(&authority, &authority.server()) else { return };
    assert_eq!(
        reported(vault.address(), vault.ca_file()),
        "Unavailable: cannot ask https://127.0.0.1:PORT: Vault is not initialized\n`vault operator init` initializes it"
    );
    vault.initialise();
    assert_eq!(
        reported(vault.address(), vault.ca_file()),
        "Unavailable: cannot ask what stands at `kv/web/db`: Vault is sealed\n\
         it answers once it is unsealed, by `vault operator unseal` or by itself"
    );
    vault.unseal();
    vault.must("POST", "sys/mounts/kv", json!({ "type": "kv" }));
    vault.must("POST", "kv/web/db", json!({ "password": "hunter2" }));
    let root = |vault: &Vault| variables(vault).with_credential("VAULT_TOKEN", vault.root_token());
    let instance = connect(table([]), root(&vault));
    run(async {
        let db = "vault:kv/web/db";
        assert_eq!(instance.value(db).await, br#"{"password":"hunter2"}"#);
        vault.seal();
        assert!(
            error_text(&instance.error(db).await)
                .starts_with("Unavailable: cannot read `kv/web/db`: Vault is sealed\n")
        );
        vault.unseal();
        assert_eq!(instance.value(db).await, br#"{"password":"hunter2"}"#);
    });
}

#[test]
fn a_standby_forwards_requests_and_its_redirect_is_not_followed() {
    let authority = Authority::new();
    let Some(pair) = Vault::pair(&authority) else { return };
    pair.active.must("POST", "sys/mounts/kv", json!({ "type": "kv" }));
    pair.active.must("POST", "kv/web/db", json!({ "password": "hunter2" }));
    let root = || variables(&pair.standby).with_credential("VAULT_TOKEN", pair.standby.root_token());
    let instance = connect(table([]), root());
    assert_eq!(run(instance.value("vault:kv/web/db")), br#"{"password":"hunter2"}"#);
    // A server at the address of the stopped leader gets no request.
    let port = pair.active.address().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    drop(pair.active);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("it was the leader's");
    let thief = Server::json(listener, Some(&authority.server()), |_| (200, json!({ "data": {} })));
    assert_eq!(
        refusal(table([]), root(), "vault:kv/web/db", None),
        "Unavailable: cannot ask https://127.0.0.1:PORT: it is a standby, and redirects to https://127.0.0.1:PORT, which is not \
         followed\n\
         credentials go to the configured address alone: configure one that leads to the active server"
    );
    let requests = thief.requests();
    assert!(requests.iter().all(|request| request.header("x-vault-token").is_none()), "{requests:?}");
}

#[test]
fn a_server_without_a_leader_is_temporary() {
    let Some(vault) = Vault::with_raft(&Authority::new()) else { return };
    vault.step_down();
    assert_eq!(
        reported(vault.address(), vault.ca_file()),
        "Unavailable: cannot ask what stands at `kv/web/db`: this Vault is a standby, and there is no active one"
    );
}

#[test]
fn a_rate_limit_is_temporary_and_has_a_wait() {
    let Some(vault) = Vault::start() else { return };
    vault.must("POST", "sys/quotas/config", json!({ "enable_rate_limit_response_headers": true }));
    vault.must("POST", "sys/quotas/rate-limit/slow", json!({ "rate": 1, "interval": "30s", "path": "secret/" }));
    vault.must("POST", "secret/data/web", json!({ "data": {} }));
    let error = run(connect(table([]), variables(&vault).with_credential("VAULT_TOKEN", vault.root_token()))
        .error("vault:secret/web"));
    assert_eq!(error_text(&error), "Unavailable: cannot read `secret/web`: a rate limit is reached");
    let wait = error.retry_after.expect("Vault sends it").as_secs();
    assert!((1..=30).contains(&wait), "{wait}");
}

#[test]
fn an_invalid_certificate_is_never_accepted() {
    let authority = Authority::new();
    let server = |identity: &Identity| Vault::with_file_storage(&authority, identity);
    let Some(good) = server(&authority.server()) else { return };
    let own = Authority::named("another");
    let ask = "Untrusted: cannot ask https://127.0.0.1:PORT: ";
    assert_eq!(
        reported_by(good.address(), &own),
        format!(
            "{ask}its certificate is from an unknown authority\nname the file of its certificate authority in `ca_file`"
        )
    );
    let Some(expired) = server(&authority.server_for(&["127.0.0.1"], (2020, 2021))) else { return };
    let reported = reported_by(expired.address(), &authority);
    assert!(reported.starts_with(&format!("{ask}its certificate expired ")), "{reported}");
    assert!(
        reported.ends_with("by this machine's clock\nrenew the certificate, or check this machine's clock"),
        "{reported}"
    );
    let Some(other) = server(&authority.server_for(&["vault.internal"], (2020, 2099))) else { return };
    assert_eq!(
        reported_by(other.address(), &authority),
        format!(
            "{ask}its certificate is for another name\nuse a name in the address that the certificate is for: `vault.internal`; for an address it needs the address in its `subjectAltName`, as `IP:…`"
        )
    );
}

/// As if a cluster's authority were replaced, together with the file that a keeper reads.
#[test]
fn after_a_trust_failure_the_authorities_file_is_read_again() {
    let Some(vault) = Vault::shared() else { return };
    let (directory, another) = (Directory::new(), Authority::new());
    let file = directory.write("ca.pem", another.pem()).display().to_string();
    let variables = variables(vault).with("VAULT_CACERT", &file).with_credential("VAULT_TOKEN", vault.root_token());
    run(async {
        let instance = connect(table([]), variables);
        assert_eq!(instance.error("vault:sys/mounts").await.kind, ErrorKind::Untrusted);
        let right = std::fs::read(vault.ca_file()).expect("it is there");
        directory.write("ca.pem", right);
        assert!(instance.fetch("vault:sys/mounts").await.is_ok());
    });
}

#[test]
fn tls_and_plain_http_are_not_mixed_up() {
    let authority = Authority::new();
    let Some(vault) = Vault::with_file_storage(&authority, &authority.server()) else { return };
    let plain = vault.address().replace("https:", "http:");
    assert_eq!(
        reported(&plain, vault.ca_file()),
        "Untrusted: cannot ask http://127.0.0.1:PORT: it answered 400 to plain HTTP, as a port for TLS does\n\
         if that port speaks TLS, the address starts with `https://`"
    );
    // The response of a plain HTTP server to the first bytes of TLS, which are not a valid request.
    let clear = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = clear.local_addr().expect("it listens").port();
    std::thread::spawn(move || {
        let (mut stream, _) = clear.accept().expect("somebody comes");
        assert!(stream.read(&mut [0; 512]).expect("it can be read") > 0, "it speaks first");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").expect("it listens");
    });
    assert_eq!(
        reported(&format!("https://127.0.0.1:{port}"), vault.ca_file()),
        "Untrusted: cannot ask https://127.0.0.1:PORT: it answers the TLS handshake with something else than TLS\n\
         look at the port: it does not speak TLS"
    );
}

#[test]
fn a_wrong_address_is_recognized_by_the_response() {
    let Some(vault) = Vault::shared() else { return };
    let elsewhere =
        "look at the address: what answers there may not be Vault but a proxy, a login page or another program";
    // Vault itself responds there, but does not know this path.
    assert_eq!(
        reported(&format!("{}/wrong", vault.address()), vault.ca_file()),
        format!("Malformed: cannot ask what stands at `kv/web/db`: there is no Vault at this address\n{elsewhere}")
    );
    // A web page must not count as a missing secret, whatever its status.
    let authority = Authority::new();
    for (status, kind, hint) in [
        (200, "Malformed", elsewhere),
        (404, "Malformed", elsewhere),
        (400, "Malformed", elsewhere),
        (401, "Denied", "something on the way to Vault refuses the request, such as a proxy"),
        (403, "Denied", "something on the way to Vault refuses the request, such as a proxy"),
    ] {
        let page = Server::start(Some(&authority.server()), move |_, stream| {
            write_answer(stream, status, &[("content-type", "text/html; charset=utf-8")], b"<html>hunter2</html>")
        });
        for settings in [table([]), table([("mounts", Value::Table(table([("kv", text("kv-v2"))])))])] {
            let directory = Directory::new();
            let variables = Variables::default()
                .with("VAULT_ADDR", &page.address())
                .with("VAULT_CACERT", &directory.write("ca.pem", authority.pem()).display().to_string())
                .with_credential("VAULT_TOKEN", "hvs.hunter2");
            assert_eq!(
                refusal(settings, variables, "vault:kv/web/db", None),
                format!("{kind}: cannot ask https://127.0.0.1:PORT: it answered {status} with an HTML page\n{hint}")
            );
        }
    }
    let nobody = format!("https://127.0.0.1:{}", free_port());
    assert_eq!(reported_by(&nobody, &authority), "Unavailable: cannot ask https://127.0.0.1:PORT: connection refused");
    let unknown = reported_by("https://vault.invalid:8200", &authority);
    assert!(
        unknown.starts_with("Unavailable: cannot ask https://vault.invalid:8200: the name cannot be resolved: "),
        "{unknown}"
    );
}

#[test]
fn another_program_that_responds_in_json_is_recognized() {
    let authority = Authority::new();
    let other = stranger(&authority);
    assert_eq!(
        reported_by(&other.address(), &authority),
        "Malformed: cannot ask what stands at `kv/web/db`: Vault's answer names no mount"
    );
}
