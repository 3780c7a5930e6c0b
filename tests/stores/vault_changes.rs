//! `watch` with key/value secrets of a real Vault: what a later read finds.

use crate::keeping::{Keeper, Kv, Store};
use handfast_testservers::random;
use nix::sys::signal::Signal;
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

/// One read without a member may be a store's mistake. A member goes whichever way its secret is deleted.
#[test]
fn a_new_member_of_a_list_appears_and_one_that_is_gone_goes_after_two_reads() {
    let Some(kv) = Kv::new() else { return };
    let (mount, vault) = (&kv.mount, kv.store.vault);
    kv.store.allow(&format!("path \"{mount}/metadata/list/\" {{ capabilities = [\"list\"] }}"));
    let put = |name: &str, value: &str| {
        vault.must("POST", &format!("{mount}/data/list/{name}"), json!({ "data": { "password": value } }));
    };
    ["stays", "removed", "deleted"].iter().for_each(|name| put(name, "1"));
    let secrets = format!(
        "[secrets.all]\nfrom = \"vault:{mount}/list/*#password\"\nfile = \"all-*\"\n[watch]\nrefresh = \"24h\"\n"
    );
    let keeper = kv.store.keep(&kv.provider(), &secrets);
    let is_there = |keeper: &Keeper<'_>, name: &str| keeper.content(&format!("all-{name}")).is_some();
    keeper.until("its members are there", |keeper| {
        ["stays", "removed", "deleted"].iter().all(|name| is_there(keeper, name))
    });
    // Its value tells which read the files are of.
    let read_again = |value: &str| {
        put("stays", value);
        keeper.signal(Signal::SIGHUP);
        keeper.until("it is read again", |keeper| keeper.content("all-stays").as_deref() == Some(value));
    };
    put("new", "1");
    read_again("2");
    assert_eq!(keeper.content("all-new").as_deref(), Some("1"));
    vault.must("DELETE", &format!("{mount}/metadata/list/removed"), Value::Null);
    vault.must("DELETE", &format!("{mount}/data/list/deleted"), Value::Null);
    read_again("3");
    assert!(is_there(&keeper, "removed") && is_there(&keeper, "deleted"), "after one read without them");
    read_again("4");
    assert!(!is_there(&keeper, "removed") && !is_there(&keeper, "deleted"), "after the second");
    assert_eq!(keeper.content("all-new").as_deref(), Some("1"), "the others stay");
    let said = keeper.end();
    assert!(said.contains("deleted") && !said.contains("error: "), "{said}");
}
