//! `watch` of many secrets through an outage of their store: it gets them all again, and the store no burst.

use crate::keeping::{Keeper, Kv, seconds};
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
