//! `watch` with key/value secrets of a real Vault: what a later read finds.

use crate::keeping::{Keeper, Store};
use handfast_testservers::random;
use serde_json::{Value, json};

/// KV 1 tells how often a secret is worth another look (`lease_duration`), and gives no lease.
#[test]
fn a_duration_of_kv_1_is_no_lease() {
    let Some(store) = Store::new() else { return };
    let (mount, vault) = (random("kv-"), store.vault);
    vault.enable_kv(&mount, 1);
    store.allow(&format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"));
    // Whoever writes it can say how long; else it is the mount's longest lease.
    let put = |name: &str, data: Value| vault.must("POST", &format!("{mount}/{name}"), data);
    put("short", json!({ "password": "old", "ttl": "5s" }));
    put("usual", json!({ "password": "old" }));
    for (name, most) in [("short", 5), ("usual", u64::MAX)] {
        let answer = vault.must("GET", &format!("{mount}/{name}"), Value::Null);
        let duration = answer["lease_duration"].as_u64().expect("a number");
        assert!((1..=most).contains(&duration) && answer["lease_id"] == "", "{answer}");
    }
    let secret = |name: &str| format!("[secrets.{name}]\nfrom = \"vault:{mount}/{name}#password\"\n");
    let names = ["short", "usual"];
    let keeper = store.keep("", &format!("{}[watch]\nrefresh = \"10s\"\n", names.map(secret).concat()));
    let have_no_end = |keeper: &Keeper<'_>| {
        // The next read and the end are told together.
        keeper.until("the next read is told", |keeper| {
            names.iter().all(|name| keeper.status(name, |secret| secret["next"].as_u64()).is_some())
        });
        for name in names {
            assert_eq!(keeper.status(name, |secret| Some(secret["end"].clone())), Some(Value::Null), "{name}");
        }
    };
    keeper.until("they are there", |keeper| names.iter().all(|name| keeper.content(name).as_deref() == Some("old")));
    have_no_end(&keeper);
    put("short", json!({ "password": "new", "ttl": "5s" }));
    put("usual", json!({ "password": "new" }));
    keeper.until("they have changed", |keeper| names.iter().all(|name| keeper.content(name).as_deref() == Some("new")));
    have_no_end(&keeper);
    let said = keeper.end();
    for word in ["lease", "stale", "cannot"] {
        assert!(!said.contains(word), "{said}");
    }
}
