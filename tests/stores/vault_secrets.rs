//! Secrets of a real Vault, from the configuration to what the app finds.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Directory, Outcome, Run, canary};
use handfast_testservers::{Postgres, Vault, random};
use serde_json::{Value, json};

/// Vault's own variables, as an operator sets them.
fn run(vault: &Vault, token: &str) -> Run {
    Run::new().env("VAULT_ADDR", vault.address()).env("VAULT_CACERT", vault.ca_file()).env("VAULT_TOKEN", token)
}

/// KV 2 at a mount of its own, with `web/db`.
fn kv(vault: &Vault, data: &Value) -> String {
    let mount = random("kv-");
    vault.enable_kv(&mount, 2);
    vault.must("POST", &format!("{mount}/data/web/db"), json!({ "data": data }));
    mount
}

/// The files in a directory, by name.
fn files(directory: &Directory) -> Vec<(String, String)> {
    let names = directory.names().into_iter().filter(|name| !name.starts_with(".."));
    let read = |name: &String| std::fs::read_to_string(directory.path().join(name)).expect("root may");
    names.map(|name| (name.clone(), read(&name))).collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// What an app reads from its descriptor.
fn content(app: &Value, number: usize) -> String {
    let hex = app["descriptors"][number]["content"].as_str().expect("it was read").to_owned();
    let digits: Vec<char> = hex.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal");
    String::from_utf8(digits.chunks(2).map(byte).collect()).expect("text")
}

#[test]
fn address_and_token_in_the_environment_are_all_that_it_takes() {
    let Some(vault) = Vault::shared() else { return };
    let password = canary();
    // Where a server in development mode has its KV 2.
    let path = random("web-");
    vault.must("POST", &format!("secret/data/{path}/db"), json!({ "data": { "password": password } }));
    let reference = format!("handfast:vault:secret/{path}/db#password");
    let outcome = run(vault, vault.root_token()).env("DB_PASSWORD_FILE", reference).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let app = outcome.probe();
    assert_eq!(content(&app, 3), password);
    assert_eq!(app["environ"]["DB_PASSWORD_FILE"], "/dev/fd/3");
    assert_eq!(app["environ"]["VAULT_ADDR"], vault.address());
    assert_eq!(app["environ"]["VAULT_TOKEN"], Value::Null, "{app:#}");
    assert!(!outcome.stderr.contains(&password) && !outcome.stderr.contains(vault.root_token()), "{outcome:?}");
}

#[test]
fn fields_lists_and_versions_become_files() {
    let Some(vault) = Vault::shared() else { return };
    let mount = kv(vault, &json!({ "user": "web", "password": "old" }));
    let data = json!({ "data": { "user": "web", "password": "new", "port": 5432 } });
    vault.must("POST", &format!("{mount}/data/web/db"), data);
    vault.must("POST", &format!("{mount}/data/web/api"), json!({ "data": { "password": "of the api" } }));
    vault.must("POST", &format!("{mount}/data/web/nested/deep"), json!({ "data": { "password": "deep" } }));
    let directory = Directory::in_memory();
    let config = format!(
        "[files]\ndir = \"{}\"\n\
         [secrets.all]\nfrom = \"vault:{mount}/web/db#*\"\nfile = \"db-*\"\n\
         [secrets.list]\nfrom = \"vault:{mount}/web/*\"\nfile = \"list-*\"\n\
         [secrets.passwords]\nfrom = \"vault:{mount}/web/*#password\"\nfile = \"password-*\"\n\
         [secrets.old]\nfrom = \"vault:{mount}/web/db?version=1#password\"\n",
        directory.text()
    );
    let outcome = run(vault, vault.root_token()).config(&config).args(["--log-level", "info"]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let expected = pairs([
        ("db-password", "new"),
        ("db-port", "5432"),
        ("db-user", "web"),
        ("list-api", r#"{"password":"of the api"}"#),
        ("list-db", r#"{"password":"new","port":5432,"user":"web"}"#),
        ("old", "old"),
        ("password-api", "of the api"),
        ("password-db", "new"),
    ]);
    assert_eq!(files(&directory), expected);
    // What the mount is, the list, `db`, `api`, and the old version of `db`: each once.
    assert!(outcome.stderr.contains("`vault`: 5 requests"), "{outcome:?}");
}

#[test]
fn a_list_whose_names_cannot_be_files_and_one_that_is_empty() {
    let Some(vault) = Vault::shared() else { return };
    let mount = kv(vault, &json!({ "password": "x" }));
    vault.must("POST", &format!("{mount}/data/odd/with%20space"), json!({ "data": { "password": "y" } }));
    let case = |path: &str, code: i32, text: &str| {
        let directory = Directory::in_memory();
        let config = format!("[files]\ndir = \"{}\"\n[secrets.all]\nfrom = \"vault:{path}\"\n", directory.text());
        let outcome = run(vault, vault.root_token()).config(&config).start();
        assert_eq!((outcome.code, outcome.app_ran()), (code, false), "{outcome:?}");
        assert!(outcome.stderr.contains(text), "{outcome:?}");
        assert_eq!(directory.names(), Vec::<String>::new());
    };
    case(&format!("{mount}/odd/*"), 65, "the name of its secret `with space` cannot be a file's");
    case(&format!("{mount}/none/*"), 66, "there is nothing below it");
    case(&format!("{mount}/*"), 66, "there is no secret directly below it");
    case(&format!("{mount}/web/*#user"), 66, "`db`: no field `user`");
}

/// Vault lists a secret as long as it has metadata, also where no version of it can be read any more.
#[test]
fn a_list_is_without_what_is_deleted_destroyed_run_out_or_has_no_version() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("kv-");
    vault.enable_kv(&mount, 2);
    let put = |name: &str| vault.must("POST", &format!("{mount}/data/{name}"), json!({ "data": { "v": name } }));
    for name in ["f/a", "f/deleted", "f/destroyed", "f/c", "gone/b"] {
        put(name);
    }
    vault.must("POST", &format!("{mount}/metadata/f/over"), json!({ "delete_version_after": "1s" }));
    put("f/over");
    vault.must("POST", &format!("{mount}/metadata/f/bare"), json!({ "max_versions": 3 }));
    vault.api("DELETE", &format!("{mount}/data/f/deleted"), Value::Null);
    vault.must("PUT", &format!("{mount}/destroy/f/destroyed"), json!({ "versions": [1] }));
    vault.api("DELETE", &format!("{mount}/data/gone/b"), Value::Null);
    vault.must("POST", &format!("{mount}/data/f/null"), json!({ "data": null }));
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let start = |path: &str, optional: &str| {
        let directory = Directory::in_memory();
        let config =
            format!("[files]\ndir = \"{}\"\n[secrets.all]\nfrom = \"vault:{path}\"\n{optional}", directory.text());
        let outcome = run(vault, vault.root_token()).config(&config).args(["--log-level", "info"]).start();
        (outcome, files(&directory))
    };
    for optional in ["", "optional = true\n"] {
        let (outcome, found) = start(&format!("{mount}/f/*#v"), optional);
        assert_eq!((outcome.code, found), (0, pairs([("a", "f/a"), ("c", "f/c")])), "{outcome:?}");
        for (name, why) in [
            ("bare", "there is no such secret"),
            ("deleted", "its version 1 was deleted"),
            ("destroyed", "its version 1 was destroyed"),
            ("null", "its version 1 has no data"),
            ("over", "its version 1 was deleted"),
        ] {
            let line = format!("`vault:{mount}/f/*` is without `{name}`: cannot read `{mount}/f/{name}`: {why}");
            assert_eq!(outcome.stderr.matches(&line).count(), 1, "{line}: {outcome:?}");
        }
    }
    // What is empty is not found, and may then be optional.
    let (outcome, found) = start(&format!("{mount}/gone/*"), "");
    assert_eq!((outcome.code, outcome.app_ran(), found), (66, false, pairs([])), "{outcome:?}");
    assert!(outcome.stderr.contains("its only secret, `b`, has no value"), "{outcome:?}");
    let (outcome, found) = start(&format!("{mount}/gone/*"), "optional = true\n");
    assert_eq!((outcome.code, found), (0, pairs([])), "{outcome:?}");
    // A field that one of them lacks is a mistake, unless the list is optional: then the others still come.
    vault.must("POST", &format!("{mount}/data/f/other"), json!({ "data": { "w": "x" } }));
    let (outcome, found) = start(&format!("{mount}/f/*#v"), "");
    assert_eq!((outcome.code, found), (66, pairs([])), "{outcome:?}");
    assert!(outcome.stderr.contains("`other`: no field `v`"), "{outcome:?}");
    let (outcome, found) = start(&format!("{mount}/f/*#v"), "optional = true\n");
    assert_eq!((outcome.code, found), (0, pairs([("a", "f/a"), ("c", "f/c")])), "{outcome:?}");
    assert!(outcome.stderr.contains("is without `other`: no field `v`"), "{outcome:?}");
}

#[test]
fn what_is_written_with_params_gives_its_fields() {
    let Some(vault) = Vault::shared() else { return };
    let [pki, transit, ssh] = ["pki-", "transit-", "ssh-"].map(random);
    for (mount, kind) in [(&pki, "pki"), (&transit, "transit"), (&ssh, "ssh")] {
        vault.enable_engine(mount, kind);
    }
    vault.must("POST", &format!("{pki}/root/generate/internal"), json!({ "common_name": "root", "ttl": "1h" }));
    let role = json!({ "allowed_domains": ["example.org"], "allow_subdomains": true, "max_ttl": "10m" });
    vault.must("POST", &format!("{pki}/roles/web"), role);
    let plaintext = json!({ "plaintext": "aHVudGVyMg==" });
    let encrypted = vault.must("POST", &format!("{transit}/encrypt/web"), plaintext);
    let ca = vault.must("POST", &format!("{ssh}/config/ca"), json!({ "generate_signing_key": true }));
    let role = json!({ "key_type": "ca", "allow_user_certificates": true, "allowed_users": "*", "ttl": "5m" });
    vault.must("POST", &format!("{ssh}/roles/web"), role);
    let directory = Directory::in_memory();
    let tls = "params = { common_name = \"www.example.org\", ttl = \"5m\" }";
    let config = format!(
        "[files]\ndir = \"{}\"\n\
         [secrets.\"tls.crt\"]\nfrom = \"vault:{pki}/issue/web#certificate\"\n{tls}\n\
         [secrets.\"tls.key\"]\nfrom = \"vault:{pki}/issue/web#private_key\"\n{tls}\n\
         [secrets.chain]\nfrom = \"vault:{pki}/issue/web#/ca_chain/0\"\n{tls}\n\
         [secrets.plain]\nfrom = \"vault:{transit}/decrypt/web?decode=base64#plaintext\"\nparams = {{ ciphertext = {} }}\n\
         [secrets.ssh]\nfrom = \"vault:{ssh}/sign/web#signed_key\"\nparams = {{ public_key = {}, valid_principals = \"web\" }}\n",
        directory.text(),
        encrypted["data"]["ciphertext"],
        ca["data"]["public_key"],
    );
    let outcome = run(vault, vault.root_token()).config(&config).args(["--log-level", "info"]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let found = files(&directory);
    let file = |name: &str| found.iter().find(|(known, _)| known == name).expect("it is there").1.as_str();
    assert_eq!(file("plain"), "hunter2");
    assert!(file("ssh").starts_with("ssh-rsa-cert-v01@openssh.com "));
    // One certificate and its own key, from one request: rustls refuses a key of another.
    let identity = handfast_testservers::Identity { certificate: file("tls.crt").into(), key: file("tls.key").into() };
    let _server = identity.tls();
    assert!(outcome.stderr.contains("`vault`: 6 requests"), "{outcome:?}");
}

/// Both are of one issue, or the database refuses them.
#[test]
fn all_fields_of_a_dynamic_secret_are_of_one_lease() {
    let (Some(vault), Some(postgres)) = (Vault::shared(), Postgres::start()) else { return };
    let mount = random("database-");
    vault.enable_database(&mount, &postgres, "1h");
    let directory = Directory::in_memory();
    let config = format!(
        "[files]\ndir = \"{}\"\n[providers.vault]\nmounts = {{ {mount} = \"other\" }}\n\
         [secrets.user]\nfrom = \"vault:{mount}/creds/web#username\"\n\
         [secrets.password]\nfrom = \"vault:{mount}/creds/web#password\"\n\
         [secrets.whole]\nfrom = \"vault:{mount}/creds/web\"\n",
        directory.text()
    );
    let outcome = run(vault, vault.root_token()).config(&config).args(["--log-level", "info"]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let found = files(&directory);
    let [(_, password), (_, user), (_, whole)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(postgres.query(user, password, "select current_user").as_ref(), Some(user));
    assert_eq!(serde_json::from_str::<Value>(whole).expect("JSON"), json!({ "username": user, "password": password }));
    assert!(outcome.stderr.contains("`vault`: 1 request\n"), "{outcome:?}");
}

#[test]
fn a_wrapped_secret_is_opened_once_and_the_second_start_says_what_that_means() {
    let Some(vault) = Vault::shared() else { return };
    let wrapping = vault.wrapped("POST", "sys/wrapping/wrap", json!({ "password": "once" }));
    let start = || -> Outcome {
        run(vault, &wrapping).env("DB_PASSWORD_FILE", "handfast:vault:sys/wrapping/unwrap#password").start()
    };
    let first = start();
    assert_eq!((first.code, content(&first.probe(), 3)), (0, "once".to_owned()), "{first:?}");
    let second = start();
    assert_eq!((second.code, second.app_ran()), (77, false), "{second:?}");
    assert!(second.stderr.contains("someone else may have"), "{second:?}");
    assert!(!second.stderr.contains(&wrapping), "{second:?}");
}

#[test]
fn a_server_that_cannot_prove_itself_is_refused_or_warned_of_at_each_start() {
    let Some(vault) = Vault::shared() else { return };
    let mount = kv(vault, &json!({ "password": "x" }));
    let start = |config: &str| {
        Run::new()
            .config(config)
            .env("VAULT_ADDR", vault.address())
            .env("VAULT_TOKEN", vault.root_token())
            .env("VAULT_SKIP_VERIFY", "true")
            .env("DB_PASSWORD_FILE", format!("handfast:vault:{mount}/web/db#password"))
            .start()
    };
    let refused = start("");
    assert_eq!((refused.code, refused.app_ran()), (78, false), "{refused:?}");
    assert!(refused.stderr.contains("`VAULT_SKIP_VERIFY` is set"), "{refused:?}");
    let warned = start("[providers.vault]\ndanger_skip_tls_verify = true\n");
    assert_eq!(warned.code, 0, "{warned:?}");
    assert_eq!(warned.stderr.matches("`danger_skip_tls_verify`").count(), 1, "{warned:?}");
}

/// Files that only root may read are read by a worker of root's; the app gets none of it.
#[test]
fn the_authority_can_be_said_for_all_providers_or_for_one() {
    let Some(vault) = Vault::shared() else { return };
    let mount = kv(vault, &json!({ "password": "x" }));
    let ca = Directory::new();
    let path = ca.write("ca.pem", std::fs::read(vault.ca_file()).expect("it is there"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("it is ours");
    let start = |config: String| {
        let reference = format!("handfast:vault:{mount}/web/db#password");
        let run = Run::new().config(&config).env("VAULT_TOKEN", vault.root_token()).env("DB_PASSWORD_FILE", reference);
        run.start()
    };
    let (address, path) = (vault.address(), path.display());
    for (config, code) in [
        (format!("[fetch]\nca_file = \"{path}\"\n[providers.vault]\naddress = \"{address}\"\n"), 0),
        (format!("[providers.vault]\naddress = \"{address}\"\nca_file = \"{path}\"\nroots = \"none\"\n"), 0),
        (format!("[providers.vault]\naddress = \"{address}\"\n"), 76),
        // A proxy that is nowhere is never asked for loopback.
        (
            format!(
                "[fetch]\nca_file = \"{path}\"\nproxy = \"http://127.0.0.1:1\"\n[providers.vault]\naddress = \"{address}\"\n"
            ),
            0,
        ),
    ] {
        let outcome = start(config);
        assert_eq!(outcome.code, code, "{outcome:?}");
    }
}
