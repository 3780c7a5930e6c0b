//! `watch` with secrets whose store says when they end.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::keeping::{Kv, seconds};
use crate::support::{Directory, Run};
use handfast_testservers::{Azure, TENANT};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs()
}

/// With a version that Vault deletes after this time.
fn that_ends_after(life: &str) -> Option<Kv> {
    let kv = Kv::new()?;
    kv.store.vault.must("POST", &format!("{}/metadata/db", kv.mount), json!({ "delete_version_after": life }));
    kv.put("old");
    Some(kv)
}

#[test]
fn a_version_that_vault_deletes_by_itself_is_read_again_before_its_end() {
    let Some(kv) = that_ends_after("24s") else { return };
    let keeper = kv.store.keep("", &format!("{}refresh = \"1h\"\n", kv.secrets()));
    keeper.until("it is there", |keeper| keeper.content("db").as_deref() == Some("old"));
    let end_of = || keeper.status("db", |secret| secret["end"].as_u64());
    keeper.until("its end is told", |_| end_of().is_some());
    let end = end_of().expect("it has an end");
    let next = keeper.status("db", |secret| secret["next"].as_u64()).expect("it is read again");
    assert!((now() + 15..=now() + 25).contains(&end) && (5..=13).contains(&(end - next)), "{end} {next} {}", now());
    // The status tells an end in whole seconds: the next version's is another.
    std::thread::sleep(seconds(2));
    kv.put("new");
    let start = Instant::now();
    keeper.until("the next version is there", |keeper| keeper.content("db").as_deref() == Some("new"));
    assert!(start.elapsed() < seconds(24), "{:?}", start.elapsed());
    keeper.until("it has an end of its own", |_| end_of().is_some_and(|later| later > end));
    keeper.end();
}

#[test]
fn a_version_that_vault_has_deleted_is_stale_and_stays() {
    let Some(kv) = that_ends_after("5s") else { return };
    let keeper = kv.store.keep("", &format!("{}refresh = \"1h\"\n", kv.secrets()));
    keeper.until("it is stale", |keeper| keeper.status("db", |secret| secret["stale"].as_bool()) == Some(true));
    // In an hour, after the read that finds it deleted.
    keeper.until("it was read again", |keeper| {
        keeper.status("db", |secret| secret["next"].as_u64()).is_some_and(|next| next > now() + 600)
    });
    assert_eq!(keeper.count(&format!("GET /v1/{}/data/db?", kv.mount)), 2);
    assert_eq!(keeper.content("db").as_deref(), Some("old"));
    let said = keeper.end();
    assert!(said.contains("error: `db` is stale: it has ended, and no other could be had\n"), "{said}");
    assert!(said.contains("was deleted"), "{said}");
}

#[test]
fn a_secret_of_azure_has_the_end_that_its_attributes_say_and_is_stale_past_it() {
    let Some(azure) = Azure::start() else { return };
    let end = now() + 8;
    azure.set_with("soon", json!({ "value": "x", "attributes": { "exp": end } }));
    azure.set_with("later", json!({ "value": "x", "attributes": { "exp": end + 3600 } }));
    azure.set("never", "x");
    let names = ["soon", "later", "never"];
    let secrets: String = names.iter().map(|name| format!("[secrets.{name}]\nfrom = \"azure:{name}\"\n")).collect();
    let (id, secret) = azure.application();
    let directory = Directory::in_memory();
    let config = format!(
        "[watch]\nrefresh = \"50m\"\n[providers.azure]\nvault = \"{}\"\nendpoint_suffix_check = false\nca_file = \"{}\"\n{secrets}",
        azure.address(),
        azure.ca_file().display()
    );
    let run = Run::command("watch").config(&config).args(["--dir", directory.text()]).timeout(seconds(60));
    let run = run.env("AZURE_TENANT_ID", TENANT).env("AZURE_CLIENT_ID", id).env("AZURE_CLIENT_SECRET", secret);
    let keeper = run.env("AZURE_AUTHORITY_HOST", azure.address()).spawn();
    let status = |name: &str, part: &str| -> Value {
        let text = fs::read(directory.path().join("..handfast/status.json")).unwrap_or_else(|_| b"null".to_vec());
        let status: Value = serde_json::from_slice(&text).expect("JSON");
        let secrets = status["secrets"].as_array().cloned().unwrap_or_default();
        secrets.into_iter().find(|secret| secret["name"] == name).map(|secret| secret[part].clone()).unwrap_or_default()
    };
    let until = |is_so: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < seconds(40), "{} {}", status("soon", "end"), status("soon", "stale"));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(&|| status("later", "end").is_u64());
    for (name, expected) in [("soon", end), ("later", end + 3600)] {
        let told = status(name, "end").as_u64().expect("a time");
        assert!(told.abs_diff(expected) <= 1, "{name}: {told}, {expected}");
    }
    assert_eq!(status("never", "end"), Value::Null);
    // Between half and two thirds of the time that is left.
    let next = status("later", "next").as_u64().expect("a time");
    assert!(next <= end + 3600 - 1180, "{next} of {}", end + 3600);
    until(&|| status("soon", "stale") == true);
    assert_eq!((status("later", "stale"), status("never", "stale")), (false.into(), false.into()));
    let ready = Run::command("ready").args(["--dir", directory.text()]).start();
    ready.refused(69, "`soon` is stale");
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says("error: `soon` is stale: it has ended, and no other could be had\n");
}
