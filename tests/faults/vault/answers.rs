//! Each fault, at the question for the mount and at the secret.

use std::time::Duration;

use handfast_testservers::Fault;
use serde_json::json;

use super::line::{PLACES, VaultLine, each};
use crate::shared::{Line, SECOND, meets_every_fault};
use crate::support::Run;

meets_every_fault!(VaultLine);

#[test]
fn a_field_twice_in_a_secret_is_final() {
    const DEADLINE: Duration = Duration::from_secs(20);
    let Some(line) = VaultLine::new() else { return };
    line.proxy.add(Fault::DuplicateKey("password").on(PLACES[1]));
    line.fails(&line.run(DEADLINE).start(), DEADLINE, 65, "it is no object, or has a key twice");
}

#[test]
fn a_missing_answer_of_a_proxy_is_no_missing_secret_that_may_be_optional() {
    let Some(line) = VaultLine::new() else { return };
    line.proxy.add(Fault::Status(404).on(PLACES[1]));
    let toml = format!("[secrets.db]\nfrom = \"vault:secret/{}\"\noptional = true\n", line.name);
    let outcome = line.run(SECOND * 5).config(&toml).start();
    outcome.refused(65, "");
    // The control: where Vault says so, the app starts.
    line.proxy.reset();
    line.vault.must("DELETE", &format!("secret/metadata/{}", line.name), json!(null));
    let outcome = Run::new()
        .env("VAULT_ADDR", line.proxy.address())
        .env("VAULT_CACERT", line.files.file("ca.pem"))
        .env("VAULT_TOKEN", &line.token)
        .config(&toml)
        .start();
    outcome.ran();
}

/// A policy is made of what Vault tells of its mounts, which it may tell later.
#[test]
fn what_passes_is_tried_again_for_a_policy_too() {
    let faults = [408, 429, 503].map(Fault::Status).into_iter().chain([Fault::Reset, Fault::Truncated]);
    each(&faults.collect::<Vec<_>>(), |line, fault| {
        let policy = || {
            let run = line.start().with_command("policy").arg("--online");
            run.args(["--deadline", "20s", "--log-level", "debug"]).start()
        };
        let without = policy();
        assert_eq!(without.code, 0, "{without:?}");
        line.proxy.reset();
        line.proxy.add(fault.clone().times(2).only(PLACES[0]));
        let outcome = policy();
        assert_eq!((outcome.code, &outcome.stdout), (0, &without.stdout), "{outcome:?}");
        outcome.says("debug: attempt 2 for");
        let path = format!("path \"secret/data/{}\"", line.name);
        assert!(String::from_utf8_lossy(&outcome.stdout).contains(&path), "{outcome:?}");
        // What lasts is no policy: the start's own code.
        line.proxy.reset();
        line.proxy.add(fault.clone().on(PLACES[0]));
        let run = line.start().with_command("policy").args(["--online", "--deadline", "1s"]).start();
        run.refused(69, "cannot fetch `db-password` from `vault:secret/");
    });
}

#[test]
fn vaults_own_variables_bound_a_request_and_its_repetitions() {
    let Some(line) = VaultLine::new() else { return };
    line.proxy.add(Fault::Silence.on(PLACES[1]).times(1));
    let outcome = line.run(SECOND * 10).env("VAULT_CLIENT_TIMEOUT", "1").start();
    assert!(outcome.elapsed >= SECOND, "{outcome:?}");
    line.starts(&outcome, SECOND * 4);
    for (retries, requests) in [("0", 1), ("2", 3)] {
        line.proxy.reset();
        line.proxy.add(Fault::Status(503).on(PLACES[1]));
        let outcome = line.run(SECOND * 20).env("VAULT_MAX_RETRIES", retries).start();
        line.fails(&outcome, SECOND * 5, 69, "answered 503 Service Unavailable");
        let asked = line.proxy.lines().iter().filter(|request| request.contains(PLACES[1])).count();
        assert_eq!(asked, requests, "{outcome:?}");
    }
}
