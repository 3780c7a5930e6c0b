//! Responses that Vault does not send, or not the version in the tests, from a test server, with the exact text of the error.

use handfast_core::{Table, Value};
use handfast_testkit::{Variables, table, text};
use handfast_testservers::{Authority, Directory, Fault, FaultProxy, Server, Vault, random, stranger, write_answer};
use serde_json::json;

use crate::errors::refusal;
use crate::support::variables;

/// Settings with the kind of the mount `kv`.
fn mounts(kind: &str) -> Table {
    table([("mounts", Value::Table(table([("kv", text(kind))])))])
}

/// The error's text if this is the response to every request.
#[track_caller]
fn reported(settings: Table, reference: &str, status: u16, body: &str) -> String {
    let (authority, directory) = (Authority::new(), Directory::new());
    let body = body.to_owned();
    let server = Server::start(Some(&authority.server()), move |_, stream| {
        write_answer(stream, status, &[("content-type", "application/json")], body.as_bytes())
    });
    let variables = Variables::default()
        .with("VAULT_ADDR", &server.address())
        .with("VAULT_CACERT", &directory.write("ca.pem", authority.pem()).display().to_string())
        .with_credential("VAULT_TOKEN", "hvs.hunter2");
    let reported = refusal(settings, variables, reference, None);
    assert!(!reported.contains("hunter2"), "{reported}");
    reported
}

const DB: &str = "vault:kv/web/db";

#[test]
fn a_response_that_violates_the_interface_is_malformed() {
    let unreadable = |why: &str| {
        format!(
            "Malformed: cannot read `kv/web/db`: Vault's answer cannot be read: {why}\n\
             something that is not Vault may answer at this address, such as a proxy or a login page"
        )
    };
    for (kind, body, expected) in [
        ("kv-v2", "{", unreadable("it ends early, at line 1 column 1")),
        ("kv-v2", "{hunter2}", unreadable("it is not JSON, at line 1 column 2")),
        (
            "kv-v2",
            r#"{"lease_id":["hunter2"]}"#,
            unreadable("it is not what its interface promises, at line 1 column 12"),
        ),
        (
            "kv-v2",
            r#"{"data":{"hunter2":1}}"#,
            "Malformed: cannot read `kv/web/db`: Vault's answer has no data of a KV 2 secret".into(),
        ),
        ("kv-v1", r#"{"lease_id":"hunter2"}"#, "Malformed: cannot read `kv/web/db`: Vault's answer has no data".into()),
        (
            "other",
            r#"{"auth":{"client_token":"hunter2"}}"#,
            "Malformed: cannot read `kv/web/db`: Vault's answer has no data\n\
             it is a token: `auth = { method = \"token\", wrapped = true }` logs in with a wrapped one"
                .into(),
        ),
    ] {
        assert_eq!(reported(mounts(kind), DB, 200, body), expected);
    }
    assert_eq!(
        reported(mounts("kv-v1"), "vault:kv/web/*", 200, r#"{"data":{"keys":"hunter2"}}"#),
        "Malformed: cannot list `kv/web/`: Vault's answer has no list of names"
    );
    for (body, why) in [
        (r#"{"data":{"path":"secret/","type":"kv"}}"#, "Vault's answer is of another mount"),
        (r#"{"data":{"hunter2":"secret/","type":"kv"}}"#, "Vault's answer names no mount"),
    ] {
        assert_eq!(
            reported(table([]), DB, 200, body),
            format!("Malformed: cannot ask what stands at `kv/web/db`: {why}")
        );
    }
}

#[test]
fn responses_of_other_versions_of_vault_are_reported_too() {
    // Responses of Vault Enterprise's replicas, of a Vault that is not initialized, and of older versions.
    let cannot = "cannot read `kv/web/db`:";
    for (status, body, expected) in [
        (472, "{}", format!("Unavailable: {cannot} this Vault is a standby, and hands requests on to nobody")),
        (473, "{}", format!("Unavailable: {cannot} this Vault is a standby, and hands requests on to nobody")),
        // A proxy may remove the body.
        (472, "", format!("Unavailable: {cannot} this Vault is a standby, and hands requests on to nobody")),
        (473, "", format!("Unavailable: {cannot} this Vault is a standby, and hands requests on to nobody")),
        (412, "", format!("Unavailable: {cannot} this Vault is a standby that lags behind the active one")),
        // Vault itself sends this if it is not initialized, which was checked. Otherwise the server does not support the request.
        (501, "{}", format!("Malformed: {cannot} https://127.0.0.1:PORT answered 501 Not Implemented")),
        (
            412,
            r#"{"errors":["required index state not present"]}"#,
            format!("Unavailable: {cannot} this Vault is a standby that lags behind the active one"),
        ),
        (
            400,
            r#"{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly."]}"#,
            format!("Unavailable: {cannot} the mount is being upgraded to KV 2"),
        ),
        (
            400,
            r#"{"errors":["Waiting for the primary to upgrade from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service when the primary is finished."]}"#,
            format!("Unavailable: {cannot} the mount is being upgraded to KV 2"),
        ),
        (
            400,
            r#"{"errors":["missing client token"]}"#,
            format!(
                "Denied: {cannot} no token has reached Vault\nsomething on the way to Vault, such as a proxy, may take the header `X-Vault-Token` away"
            ),
        ),
        (
            403,
            r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#,
            format!(
                "Denied: {cannot} Vault does not take the token\n\
                 the token has expired, was revoked, has no uses left (each request is one), is bound to other addresses, or \
                 is another Vault's"
            ),
        ),
        (
            418,
            r#"{"errors":["hunter2"]}"#,
            format!("Malformed: {cannot} https://127.0.0.1:PORT answered 418 I'm a teapot"),
        ),
        // An API gateway's response for an unknown path must not count as a missing secret.
        (
            404,
            r#"{"message":"hunter2"}"#,
            "Malformed: cannot ask https://127.0.0.1:PORT: it answered 404 with JSON that is not Vault's\n\
             look at the address: what answers there may not be Vault but a proxy, a login page or another program"
                .into(),
        ),
        (
            404,
            r#"{"errors":[]}"#,
            "NotFound: cannot read `kv/web/db`: there is no such secret\n\
             `mounts` says that `kv` is KV 2: if it is KV 1, nothing is found there"
                .into(),
        ),
        (
            500,
            r#"{"errors":["hunter2"]}"#,
            format!("Unavailable: {cannot} https://127.0.0.1:PORT answered 500 Internal Server Error"),
        ),
    ] {
        assert_eq!(reported(mounts("kv-v2"), DB, status, body), expected);
    }
}

/// Many proxies and firewalls refuse the method LIST, but let the same request with GET through.
#[test]
fn a_list_that_a_proxy_refuses_is_requested_again_with_get() {
    let list = |status: u16, media: &'static str, refusal: &'static str, by_get: bool| {
        let (authority, directory) = (Authority::new(), Directory::new());
        let requests = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let lines = requests.clone();
        let server = Server::start(Some(&authority.server()), move |request, stream| {
            lines.lock().expect("no test panics here").push(format!("{} {}", request.method, request.path));
            let json = &[("content-type", "application/json")];
            match request.method == "GET" && request.path.ends_with("?list=true") && by_get {
                true => write_answer(stream, 404, json, br#"{"errors":[]}"#),
                false => write_answer(stream, status, &[("content-type", media)], refusal.as_bytes()),
            }
        });
        let variables = Variables::default()
            .with("VAULT_ADDR", &server.address())
            .with("VAULT_CACERT", &directory.write("ca.pem", authority.pem()).display().to_string())
            .with_credential("VAULT_TOKEN", "hvs.hunter2");
        let reported = crate::errors::refusal(mounts("kv-v1"), variables, "vault:kv/web/*", None);
        let requests = requests.lock().expect("no test panics here").clone();
        (reported, requests)
    };
    let twice = ["LIST /v1/kv/web/", "GET /v1/kv/web/?list=true"];
    for (status, media, refusal) in [
        (400, "text/html", "<html>"),
        (403, "text/html", "<html>"),
        (405, "text/html", "<html>"),
        (501, "text/html", "<html>"),
        (405, "application/json", r#"{"message":"no such method"}"#),
        (403, "application/json", r#"{"message":"forbidden"}"#),
        (404, "text/plain", "not found"),
    ] {
        let (reported, requests) = list(status, media, refusal, true);
        assert_eq!(reported, "NotFound: cannot list `kv/web/`: there is nothing below it", "{status} {refusal}");
        assert_eq!(requests, twice, "{status} {refusal}");
        let (reported, requests) = list(status, media, refusal, false);
        assert!(!reported.starts_with("Unavailable"), "{reported}");
        assert!(reported.ends_with("\nlet the method LIST, or GET with `?list=true`, through to Vault"), "{reported}");
        assert_eq!(requests, twice, "{status} {refusal}");
    }
    let none =
        list(405, "application/json", r#"{"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#, true).0;
    assert_eq!(
        none,
        "Malformed: cannot list `kv/web/`: Vault does not allow that on this path\n\
         this path has no list: name each secret by itself"
    );
    // Vault's own response is final.
    for (status, refusal) in [
        (403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#),
        (405, r#"{"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#),
        (400, r#"{"errors":["missing client token"]}"#),
    ] {
        assert_eq!(list(status, "application/json", refusal, true).1, ["LIST /v1/kv/web/"], "{refusal}");
    }
}

#[test]
fn each_network_fault_is_named() {
    let Some(vault) = Vault::shared() else { return };
    let name = random("db-");
    vault.must("POST", &format!("secret/data/{name}"), json!({ "data": { "password": "hunter2" } }));
    let (authority, directory) = (Authority::new(), Directory::new());
    let ca = directory.write("ca.pem", authority.pem()).display().to_string();
    let proxy = FaultProxy::start(vault, &authority);
    let other = stranger(&authority);
    let ask = "cannot ask https://127.0.0.1:PORT:";
    let read = "cannot read `secret/DB`: Vault's answer cannot be read:";
    let elsewhere = "something that is not Vault may answer at this address, such as a proxy or a login page";
    for (fault, expected) in [
        (Fault::Reset, format!("Unavailable: {ask} connection reset")),
        (Fault::Cut, format!("Unavailable: {ask} the answer ended early")),
        (Fault::Truncated, format!("Unavailable: {ask} the answer ended early")),
        (Fault::Huge, format!("Malformed: {ask} the answer is larger than 8388608 bytes")),
        (Fault::HugeInChunks, format!("Malformed: {ask} the answer is larger than 8388608 bytes")),
        (
            Fault::GzipBomb,
            format!(
                "Malformed: {ask} it answered 200 with something else than JSON\n\
                 look at the address: what answers there may not be Vault but a proxy, a login page or another program"
            ),
        ),
        (
            Fault::DuplicateKey("data"),
            format!("Malformed: {read} it is not what its interface promises, at line 1 column COLUMN\n{elsewhere}"),
        ),
        (
            Fault::Deep(10_000),
            format!("Malformed: {read} it is not what its interface promises, at line 1 column COLUMN\n{elsewhere}"),
        ),
        (Fault::RetryAfter(429, "3".into()), "Unavailable: cannot read `secret/DB`: a rate limit is reached".into()),
        (
            Fault::Redirect(other.address()),
            format!(
                "Unavailable: {ask} it is a standby, and redirects to https://127.0.0.1:PORT, which is not followed\n\
                 credentials go to the configured address alone: configure one that leads to the active server"
            ),
        ),
    ] {
        proxy.reset();
        proxy.add(fault.clone().on("/v1/secret/"));
        let variables = variables(vault)
            .with("VAULT_ADDR", &proxy.address())
            .with("VAULT_CACERT", &ca)
            .with("VAULT_CLIENT_TIMEOUT", "20")
            .with_credential("VAULT_TOKEN", vault.root_token());
        let reported = refusal(table([]), variables, &format!("vault:secret/{name}"), None).replace(&name, "DB");
        for canary in [vault.root_token(), proxy.canary(), "hunter2"] {
            assert!(!reported.contains(canary), "{reported}");
        }
        assert_eq!(without_column(&reported), expected, "{fault:?}");
    }
    assert_eq!(other.connections(), 0);
}

/// A text without the column in it, which depends on the data that Vault returns about the request.
fn without_column(text: &str) -> String {
    match text.split_once("column ") {
        Some((before, after)) => {
            format!("{before}column COLUMN{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
        }
        None => text.to_owned(),
    }
}
