//! `watch` with a real Vault: what changes there reaches the files, and an outage is outlived.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::{Directory, Run, Running};
use handfast_testservers::{Authority, Fault, FaultProxy, Vault, random};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn watch(vault: &Vault, config: &str, directory: &Directory) -> Run {
    Run::command("watch")
        .config(config)
        .args(["--dir", directory.text(), "--log-level", "info"])
        .env("VAULT_ADDR", vault.address())
        .env("VAULT_CACERT", vault.ca_file())
        .timeout(Duration::from_secs(60))
}

fn until(directory: &Directory, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "not in time: {:?}", directory.names());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn end(keeper: Running) -> String {
    keeper.signal(Signal::SIGTERM);
    let start = Instant::now();
    let outcome = keeper.finish();
    assert!(outcome.code == 0 && start.elapsed() < Duration::from_millis(2500), "{outcome:?}");
    outcome.stderr
}

/// A login whose token ends after a few seconds: the keeper logs in anew before it does.
#[test]
fn a_new_version_reaches_the_files_after_the_first_login_has_ended() {
    let Some(vault) = Vault::shared() else { return };
    let [mount, policy, approle] = ["kv-", "policy-", "approle-"].map(random);
    vault.enable_kv(&mount, 2);
    vault.policy(&policy, &format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"));
    let role = vault.enable_approle(&approle, &[&policy]);
    vault.must("POST", &format!("auth/{approle}/role/web"), json!({ "token_ttl": "6s", "token_max_ttl": "6s" }));
    let put = |value: &str| vault.must("POST", &format!("{mount}/data/db"), json!({ "data": { "password": value } }));
    put("old");
    let directory = Directory::in_memory();
    let config = format!(
        "[watch]\nquiet = \"0s\"\n[providers.vault]\nmounts = {{ {mount} = \"kv-v2\" }}\n\
         auth = {{ method = \"approle\", mount = \"{approle}\", role_id = \"{}\" }}\n\
         [secrets.db]\nfrom = \"vault:{mount}/db#password\"\n",
        role.role_id
    );
    let keeper = watch(vault, &config, &directory).env("VAULT_SECRET_ID", &role.secret_id).spawn();
    let content = || fs::read_to_string(directory.path().join("db")).unwrap_or_default();
    until(&directory, || content() == "old");
    std::thread::sleep(Duration::from_secs(7));
    put("new");
    keeper.signal(Signal::SIGHUP);
    until(&directory, || content() == "new");
    let said = end(keeper);
    assert!(said.contains("info: changed: db\n") && !said.contains("cannot read"), "{said}");
}

#[test]
fn an_outage_leaves_the_last_value_is_not_hammered_and_is_told_when_it_is_over() {
    let Some(vault) = Vault::shared() else { return };
    let path = random("web-");
    let put =
        |value: &str| vault.must("POST", &format!("secret/data/{path}"), json!({ "data": { "password": value } }));
    put("old");
    let authority = Authority::new();
    let proxy = FaultProxy::start(vault, &authority);
    let directory = Directory::in_memory();
    let ca_file = directory_of_ca(&authority);
    let config = format!("[watch]\nquiet = \"0s\"\n[secrets.db]\nfrom = \"vault:secret/{path}#password\"\n");
    let keeper = watch(vault, &config, &directory)
        .env("VAULT_ADDR", proxy.address())
        .env("VAULT_CACERT", ca_file.path().join("ca.pem"))
        .env("VAULT_TOKEN", vault.root_token())
        .spawn();
    let content = || fs::read_to_string(directory.path().join("db")).unwrap_or_default();
    until(&directory, || content() == "old");
    proxy.reset();
    proxy.add(Fault::Status(500));
    put("new");
    keeper.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(content(), "old");
    // Full jitter from 1 s: about six tries in that time, and never a loop.
    let asked = proxy.requests().len();
    assert!((1..=12).contains(&asked), "{asked}");
    proxy.reset();
    until(&directory, || content() == "new");
    let said = end(keeper);
    let told = said.matches("warn: cannot read `db` again from `vault:secret/").count();
    assert!((1..=4).contains(&told), "a warning at the first failure and at each doubling: {said}");
    assert!(said.contains(", 2 times in ") && said.contains("info: `db` can be read again, after "), "{said}");
}

/// They are read together, at the start and each time after it. Read at times of their own, a name and its password would not fit to
/// each other for as long as `refresh`.
#[test]
fn secrets_that_change_together_are_one_generation() {
    let Some(vault) = Vault::shared() else { return };
    let path = random("web-");
    let names: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    let put = |value: &str| {
        for name in &names {
            vault.must("POST", &format!("secret/data/{path}/{name}"), json!({ "data": { "password": value } }));
        }
    };
    put("old");
    let directory = Directory::in_memory();
    let secrets: String = names
        .iter()
        .map(|name| format!("[secrets.{name}]\nfrom = \"vault:secret/{path}/{name}#password\"\n"))
        .collect();
    let config = format!("[watch]\nrefresh = \"10s\"\nquiet = \"2s\"\n{secrets}");
    let keeper = watch(vault, &config, &directory).env("VAULT_TOKEN", vault.root_token()).spawn();
    // Not in the middle of a read.
    until(&directory, || {
        let Ok(text) = fs::read(directory.path().join("..handfast/status.json")) else { return false };
        let status: Value = serde_json::from_slice(&text).expect("JSON");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs();
        let secrets = status["secrets"].as_array().expect("a list");
        secrets.iter().all(|secret| secret["next"].as_u64().is_some_and(|next| next > now + 3))
    });
    put("new");
    let is_new = |name: &String| fs::read_to_string(directory.path().join(name)).is_ok_and(|text| text == "new");
    until(&directory, || names.iter().all(is_new));
    let said = end(keeper);
    assert_eq!(said.matches("info: changed: ").count(), 1, "{said}");
}

/// A read that gets no answer takes ten seconds.
#[test]
fn a_read_that_hangs_keeps_no_other_waiting() {
    let Some(vault) = Vault::shared() else { return };
    let path = random("web-");
    let put = |value: &str| {
        for name in ["a", "b"] {
            vault.must("POST", &format!("secret/data/{path}/{name}"), json!({ "data": { "password": value } }));
        }
    };
    put("old");
    let authority = Authority::new();
    let proxy = FaultProxy::start(vault, &authority);
    let directory = Directory::in_memory();
    let ca_file = directory_of_ca(&authority);
    let secrets = ["a", "b"].map(|name| format!("[secrets.{name}]\nfrom = \"vault:secret/{path}/{name}#password\"\n"));
    let config = format!("[watch]\nrefresh = \"10s\"\nquiet = \"0s\"\n{}", secrets.concat());
    let keeper = watch(vault, &config, &directory)
        .env("VAULT_ADDR", proxy.address())
        .env("VAULT_CACERT", ca_file.path().join("ca.pem"))
        .env("VAULT_TOKEN", vault.root_token())
        .spawn();
    let content = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap_or_default();
    until(&directory, || content("a") == "old" && content("b") == "old");
    proxy.reset();
    let [other, hanging] = ["a", "b"].map(|name| format!("/v1/secret/data/{path}/{name}"));
    proxy.add(Fault::Silence.on(&hanging));
    put("new");
    let is_asked = |place: &str| proxy.lines().contains(&format!("GET {place}?"));
    until(&directory, || is_asked(&other) && is_asked(&hanging));
    let asked = Instant::now();
    until(&directory, || content("a") == "new");
    assert!(content("b") == "old" && asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    end(keeper);
}

fn directory_of_ca(authority: &Authority) -> Directory {
    let directory = Directory::new();
    directory.write("ca.pem", authority.pem());
    directory
}
