//! Vault's own agent, on a socket.

use handfast_core::{ErrorKind, Table, Value as Setting};
use handfast_testkit::{Instance, Variables, run, table, text};
use handfast_testservers::{Vault, random};
use serde_json::{Value, json};

use crate::support::{connect, with_params};

#[test]
fn an_agent_lends_its_token_and_takes_another() {
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
        // Its token, without one of ours.
        let instance = connect(Table::default(), by_socket());
        assert_eq!(instance.value(&db).await, br#"{"password":"hunter2"}"#);
        let who = async |instance: &Instance| -> Value {
            serde_json::from_slice(&instance.value("vault:auth/token/lookup-self").await).unwrap()
        };
        let lent = who(&instance).await;
        assert_eq!(lent["path"], format!("auth/{approle}/login"));
        // Ours, where we have one.
        let instance = connect(Table::default(), by_socket().with_credential("VAULT_TOKEN", vault.root_token()));
        assert_eq!(who(&instance).await["path"], "auth/token/create");
        assert_eq!(instance.value(&db).await, br#"{"password":"hunter2"}"#);
        let wrong = connect(Table::default(), by_socket().with_credential("VAULT_TOKEN", "hvs.no-such-token"));
        assert_eq!(wrong.error(&db).await.kind, ErrorKind::Denied);
        // The same by the configuration, and by the agent's own sink.
        let settings = table([("address", text(&address))]);
        assert_eq!(connect(settings, Variables::default()).value(&db).await, br#"{"password":"hunter2"}"#);
        let auth = [("method", text("token")), ("token_file", text(&agent.token_file().display().to_string()))];
        let settings = table([("address", text(&address)), ("auth", Setting::Table(table(auth)))]);
        assert_eq!(connect(settings, Variables::default()).value(&db).await, br#"{"password":"hunter2"}"#);
        // A write goes through it too.
        let locator = with_params("vault:auth/token/lookup-accessor", &json!({ "accessor": lent["accessor"] }));
        let error = connect(Table::default(), by_socket()).provider().fetch(&locator).await.map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "it has no right to that");
    });
    drop(agent);
    run(async {
        let gone = connect(Table::default(), Variables::default().with("VAULT_ADDR", &address));
        assert_eq!(gone.error(&db).await.kind, ErrorKind::Unavailable);
    });
}
