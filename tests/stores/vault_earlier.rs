//! `watch` after an earlier one with the same secrets of a real Vault, in an outage of another store.

use std::fs;
use std::time::{Duration, Instant};

use crate::keeping::{Store, seconds};
use crate::support::{Directory, Run};
use handfast_testservers::random;
use nix::sys::signal::Signal;
use serde_json::json;

/// Each start is issued another certificate. As a change, it would restart the app as long as the outage lasts.
#[test]
fn what_each_start_is_issued_restarts_the_app_once_the_outage_of_another_store_is_over() {
    let Some(store) = Store::new() else { return };
    let mount = random("pki-");
    store.vault.enable_engine(&mount, "pki");
    store.vault.must("POST", &format!("{mount}/root/generate/internal"), json!({ "common_name": "ca", "ttl": "2h" }));
    let role = json!({ "allow_any_name": true, "enforce_hostnames": false, "max_ttl": "1h" });
    store.vault.must("POST", &format!("{mount}/roles/web"), role);
    store.allow(&format!("path \"{mount}/issue/web\" {{ capabilities = [\"update\"] }}"));
    let directory = Directory::in_memory();
    let vault = store.by_approle(&format!("mounts = {{ {mount} = \"other\" }}"));
    let watch = |mock: &str| {
        let config = format!(
            "[watch]\nquiet = \"0s\"\nsplay = \"0s\"\n[providers.vault]\n{vault}\n[providers.mock]\n{mock}\n\
             [secrets.tls]\nfrom = \"vault:{mount}/issue/web\"\nparams = {{ common_name = \"web\", ttl = \"1h\" }}\n\
             on_change = \"restart\"\n[secrets.other]\nfrom = \"mock:other\"\n"
        );
        let run = Run::command("watch").config(&config).env("VAULT_SECRET_ID", &store.role.secret_id);
        store.at(run).args(["--dir", directory.text(), "--log-level", "info"]).timeout(seconds(120))
    };
    let ready = || {
        let run = Run::command("ready").args(["--dir", directory.text(), "--wait", "30s"]);
        assert_eq!(run.start().code, 0);
    };
    let content = || fs::read_to_string(directory.path().join("tls")).unwrap_or_default();
    let first = watch("").spawn();
    ready();
    first.signal(Signal::SIGKILL);
    first.finish();

    let issued = content();
    let second = watch("fail = \"unavailable\"").spawn();
    let start = Instant::now();
    while content() == issued {
        assert!(start.elapsed() < seconds(60), "there is no other certificate");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(1500));
    ready();
    second.signal(Signal::SIGTERM);
    let outcome = second.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says("the files of the keeper before stay").says("info: changed: tls\n");

    let outcome = watch("fail_first = 3").start();
    outcome.says("info: `other` can be read again, after ");
    outcome.refused(79, "`tls` has changed, and asks for a restart");
}
