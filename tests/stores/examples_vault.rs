//! The configurations of `examples/vault`, word for word, against a real Vault whose policy is what `handfast policy` prints.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use crate::support::{Directory, Run, canary, hex, needs_root};
use handfast_testservers::{Issuer, Kubernetes, Postgres, ROLE, Vault};
use serde_json::{Value, json};

/// A Vault as the examples have it: `kv`, `database` and `pki` at their own names.
struct World {
    vault: Vault,
    postgres: Postgres,
    key: String,
}

fn world() -> Option<&'static World> {
    static WORLD: OnceLock<Option<World>> = OnceLock::new();
    let make = || {
        let (vault, postgres, key) = (Vault::start()?, Postgres::start()?, canary());
        vault.enable_kv("kv", 2);
        for (name, value) in [("api", "first"), ("api", "second"), ("deploy", "only")] {
            vault.must("POST", &format!("kv/data/web/{name}"), json!({ "data": { "key": format!("{key}{value}") } }));
        }
        for tenant in ["a", "b"] {
            let data = json!({ "data": { "password": format!("{key}{tenant}") } });
            vault.must("POST", &format!("kv/data/web/tenants/{tenant}"), data);
        }
        vault.enable_database("database", &postgres, "1h");
        vault.enable_engine("pki", "pki");
        vault.must("POST", "pki/root/generate/internal", json!({ "common_name": "root", "ttl": "10h" }));
        let role = json!({ "allowed_domains": ["example.org"], "allow_subdomains": true, "max_ttl": "2h" });
        vault.must("POST", "pki/roles/web", role);
        Some(World { vault, postgres, key })
    };
    WORLD.get_or_init(make).as_ref()
}

impl World {
    /// Writes the policy that an example needs, under this name.
    fn grant(&self, example: &str, policy: &str) {
        let outcome = Run::command("policy").arg("--config").arg(path(example)).env("VAULT_ADDR", self.vault.address());
        let outcome = outcome.start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        self.vault.policy(policy, &String::from_utf8(outcome.stdout).expect("it is text"));
    }

    /// Starts the example with a /run of its own, which has these files and an empty directory for the secrets; the files that
    /// the app finds there, and its whole environment.
    fn start(&self, example: &str, files: &[(&str, &str)], environment: &[(&str, &str)]) -> (Value, Value) {
        let own = Directory::new();
        fs::create_dir(own.path().join("web")).expect("it is ours");
        for (name, content) in files {
            let path = own.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("it is ours");
            fs::write(path, content).expect("it is ours");
        }
        let mut run =
            Run::new().arg("--config").arg(path(example)).confine(&["--bind", &format!("{}:/run", own.text())]);
        for (name, value) in environment {
            run = run.env(name, value);
        }
        let run = run.env("VAULT_ADDR", self.vault.address()).env("VAULT_CACERT", self.vault.ca_file());
        let app = run.start().ran();
        assert_eq!(app["status"]["uids"], json!([10001, 10001, 10001, 10001]));
        (app["CREDENTIALS_DIRECTORY"]["entries"].clone(), app["environ"].clone())
    }
}

fn path(example: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/vault").join(example)
}

fn text(file: &Value) -> String {
    let digits = file["content"].as_str().expect("a file of the app's");
    let bytes =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"));
    String::from_utf8(bytes.collect()).expect("it is text")
}

#[test]
fn an_app_role_gets_a_key_and_credentials_of_a_database_that_work() {
    needs_root!();
    let Some(world) = world() else { return };
    world.grant("approle.toml", "of-approle");
    let role = world.vault.enable_approle("approle", &["of-approle"]);
    let secret_id = format!("{}\n", role.secret_id);
    let files = [("bootstrap/secret-id", secret_id.as_str())];
    let (files, environ) = world.start("approle.toml", &files, &[("APP_ROLE_ID", &role.role_id)]);
    assert_eq!(files["api-key"]["content"], hex(format!("{}second", world.key)));
    assert_eq!((&environ["API_KEY_FILE"], &environ["APP_ROLE_ID"]), (&json!("/run/web/api-key"), &json!(role.role_id)));
    let (user, password) = (text(&files["db-user"]), text(&files["db-password"]));
    assert_eq!(world.postgres.query(&user, &password, "select current_user").as_deref(), Some(user.as_str()));
}

#[test]
fn a_pod_gets_a_version_and_a_file_for_each_tenant() {
    needs_root!();
    let Some(world) = world() else { return };
    world.grant("kubernetes.toml", "of-kubernetes");
    let kubernetes = Kubernetes::start();
    world.vault.enable_kubernetes("kubernetes", &kubernetes, &["of-kubernetes"]);
    let token = kubernetes.token("shop", ROLE, Some("vault"));
    let (files, _) = world.start("kubernetes.toml", &[("secrets/vault/token", &token)], &[]);
    for (file, value) in [("api-key", "first"), ("tenant-a", "a"), ("tenant-b", "b")] {
        assert_eq!(files[file]["content"], hex(format!("{}{value}", world.key)), "{file}");
    }
}

#[test]
fn a_job_gets_a_key_and_a_certificate() {
    needs_root!();
    let Some(world) = world() else { return };
    world.grant("jwt.toml", "of-jwt");
    let issuer = Issuer::new("https://ci.example.org");
    world.vault.enable_jwt("jwt", &issuer, &["of-jwt"]);
    let (files, _) = world.start("jwt.toml", &[("ci/token", &issuer.token("job-7", "vault"))], &[]);
    assert_eq!(files["deploy-key"]["content"], hex(format!("{}only", world.key)));
    assert!(text(&files["tls-certificate"]).starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(text(&files["tls-private_key"]).contains("PRIVATE KEY-----"));
}
