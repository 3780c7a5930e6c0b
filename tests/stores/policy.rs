//! `policy`: what it prints is enough for the configuration, and no line of it is too much.

use crate::support::{Directory, Outcome, Run, canary};
use handfast_testservers::{Postgres, Vault, random};
use serde_json::{Value, json};

/// A configuration with every kind of reference, and where they lead.
struct World {
    vault: &'static Vault,
    mounts: String,
    secrets: String,
    /// Whoever keeps the database's server.
    _postgres: Postgres,
    canary: String,
}

impl World {
    fn new() -> Option<Self> {
        let (vault, postgres) = (Vault::shared()?, Postgres::start()?);
        let [v1, v2, database, pki, transit] = ["v1-", "team/v2-", "database-", "pki-", "transit-"].map(random);
        let canary = canary();
        vault.enable_kv(&v1, 1);
        vault.enable_kv(&v2, 2);
        for name in ["web/db", "list/a", "list/b", "list/below/c"] {
            vault.must("POST", &format!("{v1}/{name}"), json!({ "password": canary }));
            for version in 1..3 {
                let data = json!({ "data": { "password": format!("{canary}{version}") } });
                vault.must("POST", &format!("{v2}/data/{name}"), data);
            }
        }
        vault.enable_database(&database, &postgres, "1h");
        vault.enable_engine(&pki, "pki");
        vault.must("POST", &format!("{pki}/root/generate/internal"), json!({ "common_name": "root", "ttl": "1h" }));
        vault.must("POST", &format!("{pki}/roles/web"), json!({ "allow_any_name": true, "max_ttl": "10m" }));
        vault.enable_engine(&transit, "transit");
        let encrypted = vault.must("POST", &format!("{transit}/encrypt/web"), json!({ "plaintext": "aHVudGVyMg==" }));
        let ciphertext = encrypted["data"]["ciphertext"].as_str().expect("text").to_owned();
        let secret = |name: &str, rest: &str| format!("[secrets.{name}]\nfrom = \"vault:{rest}\n");
        let secrets = [
            secret("v1", &format!("{v1}/web/db#password\"")),
            secret("v1-list", &format!("{v1}/list/*#password\"\nfile = \"v1-*\"")),
            secret("v2", &format!("{v2}/web/db#password\"")),
            secret("v2-first", &format!("{v2}/web/db?version=1#password\"")),
            secret("v2-list", &format!("{v2}/list/*#password\"\nfile = \"v2-*\"")),
            secret("user", &format!("{database}/creds/web#username\"")),
            secret("password", &format!("{database}/creds/web#password\"")),
            secret("certificate", &format!("{pki}/issue/web#certificate\"\nparams = {{ common_name = \"web\" }}")),
            secret("role", &format!("{pki}/roles/web#max_ttl\"")),
            secret(
                "decrypted",
                &format!("{transit}/decrypt/web#plaintext\"\nparams = {{ ciphertext = \"{ciphertext}\" }}"),
            ),
        ];
        let mounts = format!(
            "[providers.vault]\nmounts = {{ \"{v1}\" = \"kv-v1\", \"{v2}\" = \"kv-v2\", {database} = \"other\", {pki} = \"other\", {transit} = \"other\" }}\n"
        );
        Some(Self { vault, mounts, secrets: secrets.concat(), _postgres: postgres, canary })
    }

    fn run(&self, command: &'static str, config: &str) -> Run {
        let run = if command == "run" { Run::new() } else { Run::command(command) };
        run.config(config).env("VAULT_ADDR", self.vault.address()).env("VAULT_CACERT", self.vault.ca_file())
    }

    /// What `policy` prints.
    fn policy(&self, config: &str, token: Option<&str>) -> String {
        let run = self.run("policy", config).args(["--dir", "/run/secrets"]);
        let outcome = match token {
            Some(token) => run.arg("--online").env("VAULT_TOKEN", token).start(),
            None => run.start(),
        };
        assert_eq!(outcome.code, 0, "{outcome:?}");
        String::from_utf8(outcome.stdout).expect("it is text")
    }

    /// A token that has this policy, and no other.
    fn token_with_only(&self, hcl: &str) -> String {
        let name = random("policy-");
        self.vault.policy(&name, hcl);
        self.vault.token_with(json!({ "policies": [name], "no_default_policy": true, "ttl": "1h" }))
    }

    /// A start with it that fetches everything.
    fn start(&self, config: &str, hcl: &str, directory: &Directory) -> Outcome {
        let run = self.run("run", config).args(["--dir", directory.text()]);
        run.env("VAULT_TOKEN", self.token_with_only(hcl)).start()
    }
}

#[test]
fn a_token_with_only_that_policy_fetches_everything_and_with_any_path_less_it_does_not() {
    let Some(world) = World::new() else { return };
    let told = format!("{}{}", world.mounts, world.secrets);
    let policy = world.policy(&told, None);
    assert_eq!(world.policy(&told, None), policy, "it is the same each time");
    let directory = Directory::in_memory();
    let outcome = world.start(&told, &policy, &directory);
    let app = outcome.ran();
    let files = &app["CREDENTIALS_DIRECTORY"]["entries"];
    for (file, value) in [("v1", ""), ("v1-a", ""), ("v1-b", ""), ("v2", "2"), ("v2-first", "1"), ("v2-a", "2")] {
        let value = crate::support::hex(format!("{}{value}", world.canary).as_bytes());
        assert_eq!(files[file]["content"], value, "{file}");
    }
    // Each path is needed: without it, something is denied.
    let paths: Vec<&str> = policy.split("\n\n").skip(1).collect();
    assert_eq!(paths.len(), 10, "{policy}");
    for without in &paths {
        let rest: Vec<&str> = paths.iter().copied().filter(|path| path != without).collect();
        let outcome = world.start(&told, &rest.join("\n\n"), &Directory::in_memory());
        assert_eq!(outcome.code, 77, "not needed: {without}\n{outcome:?}");
    }
}

#[test]
fn what_the_configuration_does_not_tell_the_server_does_and_else_both_paths_are_there() {
    let Some(world) = World::new() else { return };
    let told = world.policy(&format!("{}{}", world.mounts, world.secrets), None);
    assert_eq!(world.policy(&world.secrets, Some(world.vault.root_token())), told);
    // Of one that may ask nothing, and of nobody: a mount is one or the other.
    let nobody = world.token_with_only("path \"none\" { capabilities = [\"deny\"] }");
    let both = world.policy(&world.secrets, None);
    assert_eq!(world.policy(&world.secrets, Some(&nobody)), both);
    assert!(both.contains("`mounts` in the configuration tells it, or `handfast policy --online`"), "{both}");
    // The first part of a path is taken for its mount, which `team/v2-…` is not: where it is, both are enough.
    let first = world.secrets.replace("team/", "");
    let outcome = {
        let secrets = first.split("[secrets.").filter(|one| one.starts_with("v1") || one.starts_with("role"));
        let config: String = secrets.map(|one| format!("[secrets.{one}")).collect();
        world.start(&config, &world.policy(&config, None), &Directory::in_memory())
    };
    outcome.ran();
}

#[test]
fn a_failed_login_is_no_policy() {
    let Some(vault) = Vault::shared() else { return };
    let config = "[providers.vault]\nauth = { method = \"approle\", role_id = \"none\", secret_id_env = \"ID\" }\n[secrets.a]\nfrom = \"vault:kv/a\"\n";
    let run = Run::command("policy").arg("--online").config(config).env("ID", canary());
    let outcome = run.env("VAULT_ADDR", vault.address()).env("VAULT_CACERT", vault.ca_file()).start();
    outcome.refused(77, "cannot fetch `a` from `vault:kv/a`: cannot log in to Vault by `approle`");
}

#[test]
fn whose_policy_is_said_where_there_is_a_choice() {
    let config = "[providers.eu]\ntype = \"vault\"\naddress = \"https://eu.internal\"\n[providers.us]\ntype = \"vault\"\naddress = \"https://us.internal\"\n\
        [secrets.a]\nfrom = \"eu:kv/a\"\n[secrets.b]\nfrom = \"us:db/creds/b\"\n[secrets.c]\nfrom = \"mock:c\"\n";
    let policy = |arguments: &[&str]| Run::command("policy").config(config).args(arguments).start();
    let eu = policy(&["eu"]);
    assert_eq!(eu.code, 0, "{eu:?}");
    let text = String::from_utf8_lossy(&eu.stdout);
    assert!(text.contains("path \"kv/data/a\"") && !text.contains("db/creds"), "{text}");
    for (arguments, text, hint) in [
        (&[][..], "the secrets come from 3 providers", "name one after `policy`: eu, us, mock"),
        (&["vault"][..], "no secret comes from `vault`", "in use: eu, us, mock"),
        (&["mock"][..], "`mock` has no policies", "what it may read is not granted by a store"),
    ] {
        let outcome = policy(arguments);
        outcome.refused(78, text);
        outcome.says(hint);
    }
    let outcome = Run::command("policy").start();
    outcome.refused(78, "no secret comes from a provider");
    let json: Value =
        serde_json::from_str(policy(&["uss", "--log-format", "json"]).stderr.lines().last().expect("a last line"))
            .expect("it is JSON");
    assert_eq!((&json["exit"], &json["hint"]), (&78.into(), &"did you mean `us`?".into()));
}
