//! The number of requests for a fetch, according to Vault's own log.

use std::rc::Rc;

use handfast_core::{Ending, Value as Setting};
use handfast_testkit::{Instance, run, table, text};
use handfast_testservers::{Authority, Directory, Fault, FaultProxy, Vault, random};
use serde_json::json;

use crate::audit::Audit;
use crate::support::{connect, mounts, variables};

/// A new KV 2 mount with `web/0` to `web/9`.
fn kv(vault: &Vault) -> String {
    let mount = random("kv-");
    vault.enable_kv(&mount, 2);
    for number in 0..10 {
        vault.must("POST", &format!("{mount}/data/web/{number}"), json!({ "data": { "n": number } }));
    }
    mount
}

/// Fetches all ten secrets at the same time.
async fn fetch_all(instance: Instance, mount: &str) -> Rc<Instance> {
    let instance = Rc::new(instance);
    let mut running = tokio::task::JoinSet::new();
    for number in 0..10 {
        let (instance, reference) = (instance.clone(), format!("vault:{mount}/web/{number}"));
        running.spawn_local(async move { instance.value(&reference).await });
    }
    while let Some(done) = running.join_next().await {
        done.expect("it is there");
    }
    instance
}

#[test]
fn one_login_one_request_a_path_and_nothing_else() {
    let Some(vault) = Vault::shared() else { return };
    let (mount, policy, approle) = (kv(vault), random("policy-"), random("approle-"));
    vault.policy(&policy, &format!("path \"{mount}/data/web/*\" {{ capabilities = [\"read\"] }}"));
    let role = vault.enable_approle(&approle, &[&policy]);
    let auth = [
        ("method", text("approle")),
        ("mount", text(&approle)),
        ("role_id", text(&role.role_id)),
        ("secret_id_env", text("SECRET_ID")),
    ];
    let mounts = Setting::Table(table([(&*mount, text("kv-v2"))]));
    let settings = table([("auth", Setting::Table(table(auth))), ("mounts", mounts)]);
    let audit = Audit::start(vault);
    run(async {
        let variables = variables(vault).with_credential("SECRET_ID", &role.secret_id);
        let instance = fetch_all(connect(settings, variables), &mount).await;
        instance.finish(Ending::Delivered).await;
        assert_eq!(instance.summary().requests, 12);
    });
    assert_eq!(audit.about(&approle), [format!("update auth/{approle}/login")]);
    let mut reads = audit.about(&mount);
    reads.sort();
    assert_eq!(reads, Vec::from_iter((0..10).map(|number| format!("read {mount}/data/web/{number}"))));
    // With the login's token: the ten reads, and its revocation.
    let own = |entry: &serde_json::Value| entry["auth"]["policies"].to_string().contains(&policy);
    let requests = audit.requests(own);
    assert_eq!((requests.len(), requests.last().map(String::as_str)), (11, Some("update auth/token/revoke-self")));
}

/// With a test server in front of the real server, whose log does not show when a response started.
#[test]
fn all_reads_are_under_way_at_once_over_connections_that_are_used_again() {
    let Some(vault) = Vault::shared() else { return };
    let (authority, directory, mount) = (Authority::new(), Directory::new(), kv(vault));
    let proxy = FaultProxy::start(vault, &authority);
    let wait = std::time::Duration::from_millis(300);
    proxy.add(Fault::Latency(wait).on(&format!("/v1/{mount}/data/")));
    let ca = directory.write("ca.pem", authority.pem());
    let variables = handfast_testkit::Variables::default()
        .with("VAULT_ADDR", &proxy.address())
        .with("VAULT_CACERT", &ca.display().to_string())
        .with_credential("VAULT_TOKEN", vault.root_token());
    run(async {
        let started = std::time::Instant::now();
        let instance = fetch_all(connect(mounts([(&mount, "kv-v2")]), variables), &mount).await;
        assert!(started.elapsed() < wait * 4, "{:?}: one after the other they take {:?}", started.elapsed(), wait * 10);
        assert_eq!((proxy.requests().len(), proxy.connections()), (10, 10));
        for number in 0..10 {
            instance.value(&format!("vault:{mount}/web/{number}")).await;
        }
        assert_eq!((proxy.requests().len(), proxy.connections()), (20, 10), "all of these over the first ten");
    });
}
