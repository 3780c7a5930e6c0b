//! `run --supervise` with secrets in descriptors alone: the worker stays where a lease or its login is to be renewed.

use std::fs;

use crate::keeping::{Store, seconds};
use crate::support::{Directory, needs_root};
use crate::vault_keeping::{Database, RENEWAL};
use handfast_testservers::random;
use nix::sys::signal::Signal;
use serde_json::json;

/// An app that writes down the secret in its descriptor 3, and waits.
const KEEPS: &str = "cat <&3 > \"$0\"; exec sleep 100";

#[test]
fn the_lease_of_a_descriptor_is_renewed_as_long_as_vault_lets_it_and_so_is_its_login() {
    needs_root!();
    let Some(database) = Database::new("10s", "24h") else { return };
    database.store.tokens(json!({ "token_ttl": "9s", "token_max_ttl": "24h" }));
    let (mount, notes) = (&database.mount, Directory::new());
    let file = all_may_write(&notes);
    let secrets = format!("[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\nfd = 3\n");
    let provider = format!("mounts = {{ {mount} = \"other\" }}");
    let keeper = database.store.supervise(&provider, &secrets, &["sh", "-c", KEEPS, &file]);
    keeper.until("it is renewed, and its login", |keeper| {
        keeper.count(RENEWAL) >= 3 && keeper.count("PUT /v1/auth/token/renew-self") >= 3
    });
    let credentials = fs::read_to_string(&file).expect("the app has written it");
    assert!(database.opens(&credentials), "it is past its first end");
    assert_eq!(keeper.count(&database.creds()), 1);
    keeper.signal(Signal::SIGTERM);
    let (outcome, _) = keeper.ended();
    assert_eq!(outcome.code, 143, "{outcome:?}");
    outcome.says("warn: what was issued for `db` ends once it can be renewed no more, and the app gets no other in its descriptor: `on_change = \"restart\"` starts it anew\n");
}

#[test]
fn a_descriptor_whose_lease_can_be_renewed_no_more_is_told_before_its_end() {
    needs_root!();
    let Some(database) = Database::new("10s", "16s") else { return };
    let (mount, notes) = (&database.mount, Directory::new());
    let file = all_may_write(&notes);
    let secrets = format!("[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\nfd = 3\n");
    let keeper =
        database.store.supervise(&format!("mounts = {{ {mount} = \"other\" }}"), &secrets, &["sh", "-c", KEEPS, &file]);
    keeper.until("the app has it", |_| fs::read_to_string(&file).is_ok_and(|text| text.ends_with('}')));
    let credentials = fs::read_to_string(&file).expect("it is there");
    keeper.until("it has ended", |_| database.store.leases(&format!("{mount}/creds/web")) == 0);
    assert!(!database.opens(&credentials));
    // The supervisor looks at the time by itself.
    std::thread::sleep(seconds(2));
    keeper.signal(Signal::SIGTERM);
    let (outcome, requests) = keeper.ended();
    assert_eq!(outcome.code, 143, "{outcome:?}");
    let told = outcome.stderr.find("warn: what was issued for `db` ends in ").expect("it is told");
    let stale =
        outcome.stderr.find("error: `db` is stale: it has ended, and no other could be had\n").expect("it is told");
    assert!(told < stale && outcome.stderr.matches("ends in ").count() == 1, "{outcome:?}");
    let asked = |line: &str| requests.iter().filter(|one| *one == line).count();
    assert!((1..=3).contains(&asked(RENEWAL)) && asked(&database.creds()) == 1, "{requests:?}");
}

#[test]
fn a_denied_renewal_of_a_descriptors_lease_is_told_with_its_end_and_issues_nothing() {
    needs_root!();
    let Some(database) = Database::new("8s", "24h") else { return };
    database.store.allow("path \"sys/leases/renew\" { capabilities = [\"deny\"] }");
    let mount = &database.mount;
    let secrets = format!("[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\nfd = 3\n");
    let keeper = database.store.supervise(
        &format!("mounts = {{ {mount} = \"other\" }}"),
        &secrets,
        &["sh", "-c", "exec sleep 100"],
    );
    keeper.until("it was asked for", |keeper| keeper.count(RENEWAL) == 1);
    keeper.until("it has ended", |_| database.store.leases(&format!("{mount}/creds/web")) == 0);
    keeper.signal(Signal::SIGTERM);
    let (outcome, requests) = keeper.ended();
    assert_eq!(outcome.code, 143, "{outcome:?}");
    outcome.says("warn: what was issued for `db` ends in ");
    outcome.says("starts it anew: cannot renew the lease of `");
    outcome.never_says("issued anew");
    assert_eq!(requests.iter().filter(|one| **one == database.creds()).count(), 1, "{requests:?}");
}

#[test]
fn without_a_lease_the_worker_of_descriptors_alone_ends_after_the_start() {
    needs_root!();
    let Some(store) = Store::new() else { return };
    let mount = random("kv-");
    store.vault.enable_engine(&mount, "kv");
    store.vault.must("POST", &format!("{mount}/db"), json!({ "password": "canary" }));
    store.allow(&format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"));
    // Nobody has said what kind of mount it is.
    let secrets = format!("[secrets.db]\nfrom = \"vault:{mount}/db#password\"\nfd = 3\n");
    let keeper = store.supervise("", &secrets, &["sh", "-c", "exec sleep 100"]);
    keeper.until("the app runs alone", |keeper| {
        let processes = children(keeper.pid());
        processes.len() == 1 && comm(processes[0]) == "sleep"
    });
    keeper.signal(Signal::SIGTERM);
    let (outcome, _) = keeper.ended();
    assert_eq!(outcome.code, 143, "{outcome:?}");
}

/// A file for the app's own notes; its path.
fn all_may_write(directory: &Directory) -> String {
    let file = directory.write("notes", "");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("it is ours");
    file.display().to_string()
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}
