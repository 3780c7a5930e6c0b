//! Vault starts in every state that the tests need.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use handfast_testservers::{Authority, Client, Pair, Vault};
use serde_json::{Value, json};

#[test]
fn a_shared_server_keeps_secrets_and_speaks_tls() {
    let Some(vault) = Vault::shared() else { return };
    vault.must("POST", "secret/data/fixture", json!({ "data": { "password": "hunter2" } }));
    let read = vault.must("GET", "secret/data/fixture", Value::Null);
    assert_eq!(read["data"]["data"]["password"], "hunter2");
    assert_eq!(vault.api_as("", "GET", "secret/data/fixture", Value::Null).0, 403);
    let stranger = Client::trusting(&Authority::new().pem());
    assert!(stranger.send("GET", vault.address(), &[], b"").is_err());
    assert_eq!(vault.address(), Vault::shared().expect("it is there").address());
}

#[test]
fn an_agent_has_a_socket_and_a_token() {
    let Some(vault) = Vault::shared() else { return };
    vault.policy("agent", "path \"secret/data/for-agents\" { capabilities = [\"read\"] }");
    vault.must("POST", "secret/data/for-agents", json!({ "data": { "password": "hunter2" } }));
    let Some(agent) = vault.agent("approle-agent", &vault.enable_approle("approle-agent", &["agent"])) else { return };
    let token = std::fs::read_to_string(agent.token_file()).expect("it is there");
    assert_eq!(vault.api_as(&token, "GET", "secret/data/for-agents", Value::Null).0, 200);
    let mut stream = UnixStream::connect(agent.socket()).expect("it listens");
    let request = "GET /v1/secret/data/for-agents HTTP/1.0\r\nhost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends");
    assert!(answer.contains("hunter2"), "{answer}");
}

#[test]
fn a_stored_server_is_uninitialised_then_sealed_then_active() {
    let authority = Authority::new();
    let Some(mut vault) = Vault::with_file_storage(&authority, &authority.server()) else { return };
    assert_eq!(vault.api("GET", "sys/health", Value::Null).0, 501);
    vault.initialise();
    assert_eq!(vault.api("GET", "sys/health", Value::Null).0, 503);
    let (status, answer) = vault.api("GET", "secret/data/x", Value::Null);
    assert_eq!((status, &answer["errors"][0]), (503, &json!("Vault is sealed")));
    vault.unseal();
    vault.must("POST", "sys/mounts/kv", json!({ "type": "kv" }));
    vault.must("POST", "kv/x", json!({ "password": "hunter2" }));
    vault.seal();
    assert_eq!(vault.api("GET", "kv/x", Value::Null).0, 503);
}

#[test]
fn certificates_that_nobody_should_accept_can_be_had() {
    let authority = Authority::new();
    let expired = authority.server_for(&["127.0.0.1"], (2020, 2021));
    let Some(vault) = Vault::with_file_storage(&authority, &expired) else { return };
    let error = Client::trusting(&authority.pem()).send("GET", vault.address(), &[], b"").expect_err("it has expired");
    assert!(error.to_string().contains("xpired"), "{error}");
}

#[test]
fn a_standby_passes_requests_on_while_there_is_an_active_server() {
    let authority = Authority::new();
    let Some(pair) = Vault::pair(&authority) else { return };
    let Pair { active, standby } = &pair;
    active.must("POST", "sys/mounts/kv", json!({ "type": "kv" }));
    active.must("POST", "kv/x", json!({ "password": "hunter2" }));
    assert_eq!(standby.must("GET", "kv/x", Value::Null)["data"]["password"], "hunter2");
    let headers = [("x-vault-token", standby.root_token()), ("x-vault-no-request-forwarding", "true")];
    let client = Client::trusting(&authority.pem());
    let (status, _) = standby.api_with(&client, &headers, "GET", "kv/x", Value::Null);
    assert_eq!(status, 307);
    drop(pair.active);
    assert_eq!(pair.standby.api("GET", "kv/x", Value::Null).0, 307);
}

#[test]
fn a_server_that_steps_down_says_that_nobody_is_active() {
    let Some(vault) = Vault::with_raft(&Authority::new()) else { return };
    vault.step_down();
    let (status, answer) = vault.api("GET", "sys/mounts", Value::Null);
    assert_eq!(status, 500);
    assert!(answer["errors"][0].as_str().is_some_and(|text| text.contains("local node not active")), "{answer}");
}
