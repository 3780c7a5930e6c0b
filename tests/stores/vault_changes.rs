//! `watch` with key/value secrets of a real Vault: what a later read finds, and what it is refused.

use crate::keeping::{Keeper, Kv, Store};
use handfast_testservers::{Fault, random};
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

/// After the start, nothing of this ends the keeper, and whoever mends it has the new value at the next read.
#[test]
fn a_secret_that_is_denied_or_gone_is_told_once_and_its_last_value_stays() {
    let Some(kv) = Kv::new() else { return };
    let (mount, vault, proxy) = (&kv.mount, kv.store.vault, &kv.store.proxy);
    let gateway = |status| {
        proxy.add(Fault::Status(status).on(&format!("/v1/{mount}/data/db")));
    };
    let other_policy = "path \"none\" { capabilities = [\"read\"] }";
    let delete = || drop(vault.must("DELETE", &format!("{mount}/metadata/db"), Value::Null));
    let cases: [(&str, &dyn Fn()); 4] = [
        ("it answered 403 with an HTML page", &|| gateway(403)),
        ("it answered 404 with an HTML page", &|| gateway(404)),
        ("permission denied", &|| vault.policy(kv.store.policy(), other_policy)),
        ("there is no such secret", &delete),
    ];
    for (why, refuse) in cases {
        kv.put("old");
        let keeper = kv.store.keep(&kv.provider(), &format!("{}refresh = \"24h\"\n", kv.secrets()));
        keeper.until("it is there", |keeper| keeper.content("db").as_deref() == Some("old"));
        proxy.reset();
        refuse();
        let read = format!("GET /v1/{mount}/data/db?");
        // The second of two signals is heard once the read for the first has its answer.
        for times in 1..=3 {
            keeper.signal(Signal::SIGHUP);
            keeper.until(&format!("it is read, for the time {times}"), |keeper| keeper.count(&read) >= times);
        }
        assert_eq!(keeper.content("db").as_deref(), Some("old"), "{why}");
        assert_eq!(keeper.status("db", |secret| secret["stale"].as_bool()), Some(false), "{why}");
        proxy.reset();
        kv.store.allow("");
        kv.can_still_read(&keeper);
        let said = keeper.end();
        let told = format!("error: cannot read `db` again from `vault:{mount}/db#password`, the last value stays: ");
        assert_eq!((said.matches(&told).count(), said.matches("error: ").count()), (1, 1), "{why}: {said}");
        assert!(said.contains(why) && !said.contains(proxy.canary()), "{why}: {said}");
        assert!(said.contains("info: `db` can be read again, after "), "{why}: {said}");
    }
}
