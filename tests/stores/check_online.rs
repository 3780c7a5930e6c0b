//! `check --online`: every reference is tried as a start would, and nothing is left of it.

use std::time::Duration;

use crate::support::{Directory, Outcome, Run, canary};
use handfast_testservers::{Vault, random};
use serde_json::{Value, json};

/// `check --online` with a files directory, so that several values have a place to go to.
fn check(config: &str, directory: &Directory) -> Run {
    Run::command("check").arg("--online").config(config).args(["--dir", directory.text()])
}

/// The same as JSON: what it says of each reference, by name.
fn outcomes(run: Run) -> (Outcome, Vec<(String, String, u64)>) {
    let outcome = run.args(["--format", "json"]).start();
    let report = report(&outcome);
    let one = |one: &Value| {
        let text = |key: &str| one[key].as_str().expect("text").to_owned();
        (text("name"), text("outcome"), one["exit"].as_u64().expect("a code"))
    };
    let outcomes = report["online"].as_array().expect("a list").iter().map(one).collect();
    assert_eq!(report["exit"], outcome.code, "{outcome:?}");
    (outcome, outcomes)
}

fn report(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

fn expected(all: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    all.iter().map(|(name, outcome, code)| ((*name).to_owned(), (*outcome).to_owned(), *code)).collect()
}

#[test]
fn each_reference_has_a_verdict_of_its_own_and_the_code_is_the_first_in_the_contracts_order() {
    let directory = Directory::in_memory();
    let config = r#"
        [providers.some]
        type = "mock"
        values = { a = "x", object = '{"user":"app","n":1}' }
        [providers.closed]
        type = "mock"
        fail = "denied"
        [providers.later]
        type = "mock"
        fail_first = 3
        [secrets.a]
        from = "some:a"
        [secrets.closed]
        from = "closed:x"
        [secrets.every]
        from = "some:object#*"
        [secrets.gone]
        from = "some:gone"
        optional = true
        [secrets.later]
        from = "later:x"
        [secrets.missing]
        from = "some:missing"
        [secrets.unlikely]
        from = "some:a#field"
    "#;
    let (outcome, outcomes) = outcomes(check(config, &directory));
    // What is denied at once does not cut short what is fine in the end.
    let all = [
        ("a", "fine", 0),
        ("closed", "denied", 77),
        ("every", "fine", 0),
        ("gone", "missing", 0),
        ("later", "fine", 0),
        ("missing", "not-found", 66),
        ("unlikely", "malformed", 65),
    ];
    assert_eq!(outcomes, expected(&all), "{outcome:?}");
    assert_eq!(outcome.code, 77);
    assert!(outcome.last_line().contains("3 of 7 secrets could not be fetched: closed:x, some:missing, some:a#field"));
    assert!(directory.names().is_empty(), "nothing is delivered");
}

#[test]
fn a_names_trouble_is_found_too() {
    let directory = Directory::in_memory();
    let config =
        "[providers.some]\ntype = \"mock\"\nvalues = { a = '{\"../x\":\"y\"}' }\n[secrets.a]\nfrom = \"some:a#*\"\n";
    let (outcome, outcomes) = outcomes(check(config, &directory));
    assert_eq!(outcomes, expected(&[("a", "malformed", 65)]), "{outcome:?}");
    outcome.says("the name of one of its fields cannot be a file's");
}

#[test]
fn what_is_wrong_offline_is_told_besides_and_comes_first() {
    let on_disk = Directory::on_disk();
    let config = "[providers.closed]\ntype = \"mock\"\nfail = \"denied\"\n[secrets.a]\nfrom = \"closed:a\"\n";
    // As an ordinary user, nothing can be mounted there.
    let run = check(config, &on_disk).confine(&["--uid", "4242", "--gid", "4242", "--groups", "none"]);
    let (outcome, outcomes) = outcomes(if crate::support::is_root() { run } else { check(config, &on_disk) });
    assert_eq!(outcomes, expected(&[("a", "denied", 77)]), "{outcome:?}");
    assert_eq!(outcome.code, 73, "a start would not have come to its fetch: {outcome:?}");
}

#[test]
fn without_the_option_no_store_is_asked() {
    let config = "[providers.closed]\ntype = \"mock\"\nfail = \"denied\"\n[secrets.a]\nfrom = \"closed:a\"\n";
    let outcome = Run::command("check").config(config).args(["--format", "json"]).start();
    assert_eq!((outcome.code, &report(&outcome)["online"]), (0, &Value::Null), "{outcome:?}");
}

#[test]
fn a_store_that_does_not_answer_is_given_up_at_the_deadline() {
    let directory = Directory::in_memory();
    let config = "[secrets.a]\nfrom = \"vault:kv/a\"\n[secrets.b]\nfrom = \"vault:kv/b\"\n";
    let port = handfast_testservers::free_port();
    let run = check(config, &directory).args(["--deadline", "1s"]).env("VAULT_TOKEN", "x");
    let (outcome, outcomes) = outcomes(run.env("VAULT_ADDR", format!("https://127.0.0.1:{port}")));
    assert_eq!(outcomes, expected(&[("a", "unavailable", 69), ("b", "unavailable", 69)]), "{outcome:?}");
    assert!(outcome.elapsed < Duration::from_secs(5), "{outcome:?}");
}

#[test]
fn of_a_real_vault_nothing_is_left_over() {
    let Some(vault) = Vault::shared() else { return };
    let (kv, pki, login, secret) = (random("kv-"), random("pki-"), random("approle-"), canary());
    vault.enable_kv(&kv, 2);
    vault.must("POST", &format!("{kv}/data/web/db"), json!({ "data": { "password": secret } }));
    vault.enable_engine(&pki, "pki");
    vault.must("POST", &format!("{pki}/root/generate/internal"), json!({ "common_name": "root", "ttl": "1h" }));
    let role = json!({ "allow_any_name": true, "max_ttl": "10m", "generate_lease": true });
    vault.must("POST", &format!("{pki}/roles/web"), role);
    let policy = format!(
        "path \"{kv}/data/web/*\" {{ capabilities = [\"read\"] }}\npath \"{pki}/issue/web\" {{ capabilities = [\"update\"] }}"
    );
    vault.policy(&login, &policy);
    let role = vault.enable_approle(&login, &[&login]);
    let directory = Directory::in_memory();
    let secret_id = directory.write("secret-id", &role.secret_id);
    let config = |more: &str| {
        format!(
            "[providers.vault]\nauth = {{ method = \"approle\", mount = \"{login}\", role_id = \"{}\", secret_id_file = \"{}\" }}\n\
             [secrets.password]\nfrom = \"vault:{kv}/web/db#password\"\n\
             [secrets.certificate]\nfrom = \"vault:{pki}/issue/web#certificate\"\nparams = {{ common_name = \"web\" }}\n{more}",
            role.role_id,
            secret_id.display()
        )
    };
    let target = Directory::in_memory();
    let start = |more: &str| {
        let run = check(&config(more), &target).env("VAULT_ADDR", vault.address());
        run.env("VAULT_CACERT", vault.ca_file()).args(["--log-level", "debug"])
    };
    let (outcome, all) = outcomes(start(""));
    assert_eq!(all, expected(&[("certificate", "fine", 0), ("password", "fine", 0)]), "{outcome:?}");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says("the login's token was given back to Vault");
    assert_eq!(left(vault, &pki, &login), (0, 0), "leases and tokens: {outcome:?}");

    let denied =
        format!("[secrets.other]\nfrom = \"vault:{kv}/other#x\"\n[secrets.field]\nfrom = \"vault:{kv}/web/db#user\"\n");
    let (outcome, all) = outcomes(start(&denied));
    let four =
        [("certificate", "fine", 0), ("field", "not-found", 66), ("other", "denied", 77), ("password", "fine", 0)];
    assert_eq!(all, expected(&four), "{outcome:?}");
    let hint = report(&outcome)["online"][2]["hint"].as_str().expect("what to do").to_owned();
    assert!(hint.contains(&format!("path \"{kv}/data/other\" {{ capabilities = [\"read\"] }}")), "{hint}");
    assert_eq!(left(vault, &pki, &login), (0, 0), "leases and tokens: {outcome:?}");

    let text = start(&denied).start();
    assert_eq!(text.code, 77, "{text:?}");
    let shown = String::from_utf8_lossy(&text.stdout);
    for line in [
        format!("online        vault:{pki}/issue/web#certificate: fine\n"),
        format!("vault:{kv}/other#x: denied, exit 77: cannot read"),
        format!("                hint: {hint}\n"),
        format!("vault:{kv}/web/db#password: fine\n"),
    ] {
        assert!(shown.contains(&line), "{line}\n{shown}");
    }
    for said in [&outcome, &text] {
        let all = format!("{}{}", said.stderr, String::from_utf8_lossy(&said.stdout));
        assert!(![&secret, &role.secret_id].iter().any(|canary| all.contains(*canary)), "{all}");
    }
    assert!(target.names().is_empty(), "nothing is delivered");
}

/// How many leases of this mount and tokens of this login there are.
fn left(vault: &Vault, leases: &str, login: &str) -> (usize, usize) {
    let list = |path: &str| {
        let (_, answer) = vault.api("LIST", path, Value::Null);
        answer["data"]["keys"].as_array().cloned().unwrap_or_default()
    };
    let of_login = |accessor: &&Value| {
        let (_, token) = vault.api("POST", "auth/token/lookup-accessor", json!({ "accessor": accessor }));
        token["data"]["path"].as_str().is_some_and(|path| path.starts_with(&format!("auth/{login}/")))
    };
    let tokens = list("auth/token/accessors").iter().filter(of_login).count();
    (list(&format!("sys/leases/lookup/{leases}/issue/web")).len(), tokens)
}
