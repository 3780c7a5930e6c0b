//! Real servers that do not serve for now.

use std::thread;
use std::time::Duration;

use handfast_testservers::{Authority, Vault, random};
use serde_json::json;

use crate::shared::SECOND;
use crate::support::{Directory, Run, hex};

/// A real one, sealed and then unsealed by its operator.
#[test]
fn a_vault_that_is_unsealed_during_the_start_serves_it() {
    let authority = Authority::new();
    let Some(mut vault) = Vault::with_file_storage(&authority, &authority.server()) else { return };
    vault.initialise();
    vault.unseal();
    vault.must("POST", "sys/mounts/kv", json!({ "type": "kv" }));
    let secret = random("canary-");
    vault.must("POST", "kv/db", json!({ "password": secret }));
    vault.seal();
    let run = |deadline: &str| {
        Run::new()
            .env("VAULT_ADDR", vault.address())
            .env("VAULT_CACERT", vault.ca_file())
            .env("VAULT_TOKEN", vault.root_token())
            .env("DB_PASSWORD_FILE", "handfast:vault:kv/db#password")
            .args(["--deadline", deadline])
    };
    let outcome = run("1s").start();
    outcome.refused(69, "Vault is sealed");
    outcome.says("hint: it answers once it is unsealed, by `vault operator unseal` or by itself");
    let running = run("30s").spawn();
    thread::sleep(SECOND);
    vault.unseal();
    let outcome = running.finish();
    assert_eq!(outcome.ran()["descriptors"][3]["content"], hex(&secret), "{outcome:?}");
    assert!(outcome.elapsed >= SECOND, "{outcome:?}");
    outcome.never_says(vault.root_token()).never_says(&secret);
}

/// A real one, whose quota is used up. It rounds the wait that it asks for down, so that there is more than one try.
#[test]
fn a_start_waits_for_vaults_own_rate_limit() {
    let Some(vault) = Vault::start() else { return };
    vault.must("POST", "sys/quotas/config", json!({ "enable_rate_limit_response_headers": true }));
    vault.must("POST", "secret/data/db", json!({ "data": { "password": "hunter2" } }));
    vault.must("POST", "sys/quotas/rate-limit/slow", json!({ "rate": 1, "interval": "3s", "path": "secret/" }));
    vault.must("GET", "secret/data/db", json!(null));
    let outcome = Run::new()
        .env("VAULT_ADDR", vault.address())
        .env("VAULT_CACERT", vault.ca_file())
        .env("VAULT_TOKEN", vault.root_token())
        .env("DB_PASSWORD_FILE", "handfast:vault:secret/db#password")
        .args(["--log-level", "debug"])
        .start();
    assert_eq!(outcome.ran()["descriptors"][3]["content"], hex("hunter2"), "{outcome:?}");
    outcome.says("failed: cannot read `secret/db`: a rate limit is reached");
    assert!(outcome.elapsed >= SECOND, "{outcome:?}");
}

/// A real one, whose operator makes a mount KV 2 meanwhile (`vault kv enable-versioning`): Vault rewrites each of its secrets, and
/// refuses every request below the mount until the last is done. A machine may be faster than the start: then with more secrets.
#[test]
fn a_start_waits_for_a_mount_that_is_being_upgraded() {
    let authority = Authority::new();
    let Some(mut vault) = Vault::with_file_storage(&authority, &authority.server()) else { return };
    vault.initialise();
    vault.unseal();
    let is_seen = [3_000, 6_000, 12_000].into_iter().any(|secrets| {
        let mount = random("kv-");
        vault.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": "kv" }));
        let put = |name: &str| vault.must("POST", &format!("{mount}/{name}"), json!({ "password": name }));
        ["web/db", "list/a", "list/b"].into_iter().for_each(|name| drop(put(name)));
        thread::scope(|scope| {
            let vault = &vault;
            for part in 0..8 {
                let mount = &mount;
                scope.spawn(move || {
                    for secret in (part..secrets).step_by(8) {
                        vault.must("POST", &format!("{mount}/other/{secret}"), json!({ "password": "x" }));
                    }
                });
            }
        });
        vault.must("POST", &format!("sys/mounts/{mount}/tune"), json!({ "options": { "version": "2" } }));
        is_waited_for(&vault, &mount)
    });
    assert!(is_seen, "no upgrade took longer than a start");
}

/// Starts right after the upgrade began; whether anything was refused for it.
fn is_waited_for(vault: &Vault, mount: &str) -> bool {
    let files = Directory::in_memory();
    let config = format!(
        "[secrets.db]\nfrom = \"vault:{mount}/web/db#password\"\n[secrets.all]\nfrom = \"vault:{mount}/list/*#password\"\nfile = \"*\"\n"
    );
    let outcome = Run::new()
        .env("VAULT_ADDR", vault.address())
        .env("VAULT_CACERT", vault.ca_file())
        .env("VAULT_TOKEN", vault.root_token())
        .config(&config)
        .args(["--dir", files.text(), "--log-level", "debug", "--deadline", "120s"])
        .timeout(Duration::from_secs(150))
        .start();
    let entries = &outcome.ran()["CREDENTIALS_DIRECTORY"]["entries"];
    for (file, value) in [("db", "web/db"), ("a", "list/a"), ("b", "list/b")] {
        assert_eq!(entries[file]["content"], hex(value), "{file}: {outcome:?}");
    }
    outcome.stderr.contains("the mount is being upgraded to KV 2")
}
