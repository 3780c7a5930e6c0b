//! Vault Agent, on a Unix socket and on a port of this machine.

use handfast_core::{ErrorKind, Problems, Settings, Table, Value as Setting};
use handfast_testkit::{Instance, Variables, run, table, text};
use handfast_testservers::{Vault, random};
use handfast_vault::DEFINITION;
use serde_json::{Value, json};

use crate::support::{connect, with_params};

#[test]
fn an_agent_adds_its_token_and_accepts_another() {
    let Some(vault) = Vault::shared() else { return };
    let (mount, policy, approle) = (random("kv-"), random("policy-"), random("approle-"));
    vault.enable_kv(&mount, 2);
    vault.must("POST", &format!("{mount}/data/web/db"), json!({ "data": { "password": "hunter2" } }));
    vault.policy(&policy, &format!("path \"{mount}/data/web/*\" {{ capabilities = [\"read\"] }}"));
    let role = vault.enable_approle(&approle, &[&policy]);
    let Some(agent) = vault.agent(&approle, &role) else { return };
    let db = format!("vault:{mount}/web/db");
    let address = format!("unix://{}", agent.socket().display());
    run(async {
        let by_socket = || Variables::default().with("VAULT_ADDR", &address);
        // The agent's token, since the request has none.
        let instance = connect(Table::default(), by_socket());
        assert_eq!(instance.value(&db).await, br#"{"password":"hunter2"}"#);
        let who = async |instance: &Instance| -> Value {
            serde_json::from_slice(&instance.value("vault:auth/token/lookup-self").await).unwrap()
        };
        let of_agent = who(&instance).await;
        assert_eq!(of_agent["path"], format!("auth/{approle}/login"));
        // The request's own token, if it has one.
        let instance = connect(Table::default(), by_socket().with_credential("VAULT_TOKEN", vault.root_token()));
        assert_eq!(who(&instance).await["path"], "auth/token/create");
        assert_eq!(instance.value(&db).await, br#"{"password":"hunter2"}"#);
        let wrong = connect(Table::default(), by_socket().with_credential("VAULT_TOKEN", "hvs.no-such-token"));
        assert_eq!(wrong.error(&db).await.kind, ErrorKind::Denied);
        // The same with the configuration, and with the agent's sink.
        let settings = table([("address", text(&address))]);
        assert_eq!(connect(settings, Variables::default()).value(&db).await, br#"{"password":"hunter2"}"#);
        let auth = [("method", text("token")), ("token_file", text(&agent.token_file().display().to_string()))];
        let settings = table([("address", text(&address)), ("auth", Setting::Table(table(auth)))]);
        assert_eq!(connect(settings, Variables::default()).value(&db).await, br#"{"password":"hunter2"}"#);
        // A write works too.
        let locator = with_params("vault:auth/token/lookup-accessor", &json!({ "accessor": of_agent["accessor"] }));
        let error = connect(Table::default(), by_socket()).provider().fetch(&locator).await.map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "it has no right to that");
    });
    drop(agent);
    run(async {
        let gone = connect(Table::default(), Variables::default().with("VAULT_ADDR", &address));
        assert_eq!(gone.error(&db).await.kind, ErrorKind::Unavailable);
    });
}

#[test]
fn an_agent_at_a_loopback_address_adds_its_token_if_configured() {
    let Some(vault) = Vault::shared() else { return };
    let (mount, policy, approle) = (random("kv-"), random("policy-"), random("approle-"));
    vault.enable_kv(&mount, 2);
    vault.must("POST", &format!("{mount}/data/web/db"), json!({ "data": { "password": "hunter2" } }));
    vault.policy(&policy, &format!("path \"{mount}/data/web/*\" {{ capabilities = [\"read\"] }}"));
    let role = vault.enable_approle(&approle, &[&policy]);
    let Some(agent) = vault.agent(&approle, &role) else { return };
    let (db, address) = (format!("vault:{mount}/web/db"), agent.address());
    let by = |method: &str| table([("auth", Setting::Table(table([("method", text(method))])))]);
    let at = |variable: &str| Variables::default().with(variable, &address);
    run(async {
        for (settings, variables) in [
            // VAULT_AGENT_ADDR takes precedence over VAULT_ADDR, as in Vault's own client.
            (Table::default(), at("VAULT_AGENT_ADDR")),
            (Table::default(), at("VAULT_AGENT_ADDR").with("VAULT_ADDR", "https://vault.internal:8200")),
            (by("agent"), at("VAULT_AGENT_ADDR")),
            (by("agent"), at("VAULT_ADDR")),
            (Table::default(), at("VAULT_ADDR").with("VAULT_AUTH_METHOD", "agent")),
            // No own token is needed.
            (by("agent"), at("VAULT_ADDR").with_credential("VAULT_TOKEN", "hvs.no-such-token")),
        ] {
            let instance = connect(settings, variables);
            assert_eq!(instance.value(&db).await, br#"{"password":"hunter2"}"#);
            assert_eq!(instance.summary().identity.as_deref(), Some("agent"));
        }
        // The settings do not say that the server is an agent.
        let error = connect(Table::default(), at("VAULT_ADDR")).error(&db).await;
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("{ method = \"agent\" }")), "{error:?}");
        // The key takes precedence over the variable.
        let mut settings = by("agent");
        settings.merge(table([("address", text("http://127.0.0.1:1"))]));
        assert_eq!(connect(settings, at("VAULT_AGENT_ADDR")).error(&db).await.kind, ErrorKind::Unavailable);
    });
    let Some(silent) = vault.agent_that(false, &approle, &role) else { return };
    run(async {
        let variables = || Variables::default().with("VAULT_AGENT_ADDR", &silent.address());
        let configured = table([("mounts", Setting::Table(table([(mount.as_str(), text("kv-v2"))])))]);
        for settings in [Table::default(), configured] {
            let error = connect(settings, variables()).error(&db).await;
            assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
            assert!(error.message.ends_with(": the agent lends no token that Vault takes"), "{error:?}");
            assert!(error.hint.as_ref().is_some_and(|hint| hint.contains(AGENT_HINT)), "{error:?}");
        }
    });
}

const AGENT_HINT: &str = "the agent needs `auto_auth`, and `use_auto_auth_token = true` in `cache` or `api_proxy`; its log says whether its own login works";

#[test]
fn an_agent_on_another_machine_adds_no_token() {
    let reported = |settings: Table, variables: Variables| {
        let mut problems = Problems::default();
        let (fetch, instance) = (&Table::default(), "vault".into());
        let settings = Settings { instance, table: settings, fetch, environment: &variables };
        let missing = (DEFINITION.configure)(settings, &mut problems).missing();
        let problems = problems.into_sorted().into_iter().map(|problem| problem.message);
        problems.chain(missing.into_iter().map(|complaint| complaint.message)).collect::<Vec<_>>()
    };
    let far = || Variables::default().with("VAULT_AGENT_ADDR", "https://agent.internal:8100");
    let elsewhere =
        "the login method `agent` takes the token of an agent on this machine, and the address is another's";
    let by_key = table([("auth", Setting::Table(table([("method", text("agent"))])))]);
    assert_eq!(reported(Table::default(), far()), [elsewhere]);
    assert_eq!(reported(by_key, far()), [elsewhere]);
    // With its own token, handfast may use an agent on another machine.
    assert_eq!(reported(Table::default(), far().with_credential("VAULT_TOKEN", "x")), Vec::<String>::new());
}
