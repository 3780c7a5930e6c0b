//! `watch` of many secrets through an outage of their store: it gets them all again, and the store no burst.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::keeping::{Keeper, Kv, seconds};
use crate::support::{Directory, Run};
use crate::vault_keeping::{Database, RENEWAL};
use handfast_testservers::Fault;
use serde_json::json;

const SECRETS: usize = 20;
const CONCURRENCY: usize = 4;

/// More are due than two a second, so that all of what the store may get is used.
#[track_caller]
fn is_followed_by_no_burst(outage: Fault) {
    let Some(kv) = Kv::new() else { return };
    let Kv { store, mount } = &kv;
    let names: Vec<String> = (0..SECRETS).map(|number| format!("s{number}")).collect();
    let put = |value: &str| {
        for name in &names {
            store.vault.must("POST", &format!("{mount}/data/{name}"), json!({ "data": { "value": value } }));
        }
    };
    put("old");
    let secret = |name: &String| format!("[secrets.{name}]\nfrom = \"vault:{mount}/{name}#value\"\n");
    let secrets: String = names.iter().map(secret).collect();
    let fetch = format!("[fetch]\nconcurrency = {CONCURRENCY}\n[watch]\nrefresh = \"10s\"\n");
    let keeper = store.keep(&kv.provider(), &format!("{secrets}{fetch}"));
    let all_are =
        |keeper: &Keeper<'_>, value: &str| names.iter().all(|name| keeper.content(name).as_deref() == Some(value));
    keeper.until("all are there", |keeper| all_are(keeper, "old"));
    store.proxy.add(outage);
    let first = store.proxy.requests().len();
    put("new");
    keeper.until("a request has failed", |_| store.proxy.faults() > 0);
    std::thread::sleep(seconds(12));
    assert!(all_are(&keeper, "old"), "the last values stay");
    store.proxy.heal();
    keeper.until("all are new", |keeper| all_are(keeper, "new"));
    keeper.until("all are fresh", |keeper| {
        names.iter().all(|name| keeper.status(name, |secret| secret["stale"].as_bool()) == Some(false))
    });
    // Not those of the end.
    let arrivals: Vec<_> = store.proxy.requests()[first..].iter().map(|request| request.at).collect();
    let said = keeper.end();
    assert!(arrivals.len() >= SECRETS, "{}", arrivals.len());
    for (at, first) in arrivals.iter().enumerate() {
        for (more, last) in arrivals[at..].iter().enumerate() {
            let took = last.duration_since(*first);
            let most = CONCURRENCY as f64 + 2.0 * took.as_secs_f64();
            assert!((more + 1) as f64 <= most + 0.01, "{} in {took:?}, expected at most {most}: {said}", more + 1);
        }
    }
    let failed = |name: &&String| said.contains(&format!("warn: cannot read `{name}` again from "));
    assert!(names.iter().filter(failed).count() >= CONCURRENCY, "{said}");
}

#[test]
fn connections_that_are_reset_are_followed_by_no_burst() {
    is_followed_by_no_burst(Fault::Reset);
}

#[test]
fn answers_that_do_not_come_are_followed_by_no_burst() {
    is_followed_by_no_burst(Fault::Silence);
}

/// All are told to come again at the same time.
#[test]
fn refusals_until_the_same_moment_are_followed_by_no_burst() {
    is_followed_by_no_burst(Fault::RetryAfter(429, "6".to_owned()));
}

/// Its token has lived two thirds of its time, and renewals are tried until four fifths: for longer than a minute.
#[test]
fn a_renewal_that_is_answered_500_for_a_minute_makes_at_most_twelve_requests() {
    let Some(kv) = Kv::new() else { return };
    let Kv { store, .. } = &kv;
    let token = store.vault.token_with(json!({ "policies": [store.policy()], "ttl": "600s" }));
    store.vault.must("POST", "auth/token/renew", json!({ "token": token, "increment": "200s" }));
    store.proxy.add(Fault::Status(500).on("/v1/auth/token/renew-self"));
    let keeper = store.keep_with(&kv.provider(), &kv.secrets(), |run| run.env("VAULT_TOKEN", token));
    keeper.until("its renewal has failed", |_| store.proxy.faults() > 0);
    std::thread::sleep(seconds(60));
    let renewals = keeper.count("PUT /v1/auth/token/renew-self");
    assert!((6..=12).contains(&renewals), "{renewals}");
    kv.can_still_read(&keeper);
    keeper.end();
}

/// Until then, its files stay; what is past its end serves nobody.
#[test]
fn a_start_in_an_outage_keeps_no_lease_of_the_keeper_before_that_has_ended() {
    let Some(database) = Database::new("20s", "20s") else { return };
    let Database { store, mount, .. } = &database;
    let provider = store.by_approle(&format!("mounts = {{ {mount} = \"other\" }}"));
    let secrets = format!("[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\n");
    let start = |directory: Directory| {
        let run = Run::command("watch").env("VAULT_SECRET_ID", &store.role.secret_id).args(["--deadline", "2s"]);
        store.start(directory, run, &provider, &secrets)
    };
    let end_of = |keeper: &Keeper<'_>| keeper.status("db", |secret| secret["end"].as_u64());
    let keeper = start(Directory::in_memory());
    keeper.until("its lease is there", |keeper| end_of(keeper).is_some());
    let (end, credentials) = (end_of(&keeper).expect("it is there"), keeper.content("db"));
    let directory = keeper.kill();
    store.proxy.add(Fault::Status(500));
    let path = directory.path().to_owned();
    let ready = || Run::command("ready").arg("--dir").arg(&path).start().code;
    assert_eq!(ready(), 69, "its keeper is gone");
    let keeper = start(directory);
    keeper.until("it keeps the files", |_| ready() == 0);
    // Written in whole seconds each time.
    assert!(end_of(&keeper).is_some_and(|told| told.abs_diff(end) <= 1), "{:?}, expected {end}", end_of(&keeper));
    assert_eq!(keeper.content("db"), credentials);
    let directory = keeper.kill();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs();
    while now() <= end + 1 {
        std::thread::sleep(seconds(1));
    }
    let (outcome, _) = start(directory).ended();
    assert!(outcome.code == 69 && outcome.elapsed >= seconds(2), "{outcome:?}");
    assert!(!outcome.stderr.contains("the files of the keeper before stay"), "{outcome:?}");
}

#[test]
fn a_store_that_asks_for_a_longer_rest_than_a_lease_lives_does_not_let_it_end() {
    let Some(database) = Database::new("20s", "24h") else { return };
    let Database { store, mount, .. } = &database;
    store.proxy.add(Fault::RetryAfter(429, "300".to_owned()).on("/v1/sys/leases/renew").times(1));
    let secrets = format!("[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\n");
    let keeper = store.keep(&format!("mounts = {{ {mount} = \"other\" }}"), &secrets);
    keeper.until("it is renewed", |keeper| keeper.count(RENEWAL) >= 2);
    assert_eq!(keeper.count(&database.creds()), 1);
    let said = keeper.end();
    assert!(said.contains(": a rate limit is reached\n") && !said.contains("is stale"), "{said}");
}
