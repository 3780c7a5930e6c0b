//! Logins to a real Vault by the binary: what only a whole start can show, such as what the app sees of it. The methods
//! themselves are tested in `providers/vault`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};

use crate::support::{Directory, Ledger, Run, canary, hex, needs_root};
use handfast_testservers::{AppRole, Moto, ROLE, Vault, random};
use nix::sys::signal::Signal;
use serde_json::json;

/// A secret that this policy lets read, and a configuration with this `auth` that wants it.
struct Wanted {
    vault: &'static Vault,
    policy: String,
    mount: String,
    secret: String,
}

impl Wanted {
    fn new() -> Option<Self> {
        let vault = Vault::shared()?;
        let wanted = Self { vault, policy: random("policy-"), mount: random("kv-"), secret: canary() };
        let Self { policy, mount, secret, .. } = &wanted;
        vault.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": "kv", "options": { "version": "2" } }));
        vault.must("POST", &format!("{mount}/data/db"), json!({ "data": { "password": secret } }));
        vault.policy(policy, &format!("path \"{mount}/data/*\" {{ capabilities = [\"read\"] }}"));
        Some(wanted)
    }

    fn config(&self, auth: &str) -> String {
        let Self { vault, mount, .. } = self;
        let (address, ca_file) = (vault.address(), vault.ca_file().display());
        format!(
            "[providers.vault]\naddress = \"{address}\"\nca_file = \"{ca_file}\"\nroots = \"none\"\nauth = {{ {auth} }}\n\
             [secrets.db]\nfrom = \"vault:{mount}/db#password\"\nfd = 3\n"
        )
    }

    #[track_caller]
    fn arrives(&self, run: Run) -> serde_json::Value {
        let outcome = run.start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let app = outcome.probe();
        assert_eq!(app["descriptors"][3]["content"], hex(&self.secret));
        app
    }

    /// Starts it, and gives what it says when it ends with 77.
    #[track_caller]
    fn is_denied(&self, run: Run) -> String {
        let outcome = run.start();
        assert_eq!((outcome.code, outcome.app_ran()), (77, false), "{outcome:?}");
        outcome.stderr
    }
}

#[test]
fn variables_that_the_configuration_names_are_credentials_from_then_on() {
    needs_root!();
    let Some(wanted) = Wanted::new() else { return };
    let mount = random("approle-");
    let AppRole { role_id, secret_id } = wanted.vault.enable_approle(&mount, &[&wanted.policy]);
    let auth = format!(
        "method = \"approle\", mount = \"{mount}\", role_id_env = \"MY_ROLE_ID\", secret_id_env = \"MY_SECRET_ID\""
    );
    let run = || {
        let run = Run::new().config(&wanted.config(&auth)).env("MY_ROLE_ID", &role_id).env("MY_SECRET_ID", &secret_id);
        run.arg("--log-level").arg("info")
    };
    let outcome = run().traced(&[&secret_id]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let app = outcome.probe();
    assert_eq!(app["descriptors"][3]["content"], hex(&wanted.secret));
    assert_eq!(app["environ"]["MY_ROLE_ID"], role_id.as_str());
    assert!(app["environ"].get("MY_SECRET_ID").is_none(), "{app}");
    assert_eq!(outcome.stderr.matches("`MY_SECRET_ID`").count(), 1, "named once: {outcome:?}");
    assert!(!outcome.stderr.contains(&secret_id) && !outcome.stderr.contains(&wanted.secret), "{outcome:?}");
    for report in outcome.memory().as_array().expect("a list") {
        assert_eq!(crate::support::hits(report), Vec::<String>::new(), "{}", report["process"]);
    }

    // During the fetch, neither process shows it in its environment.
    let slow = "[providers.mock]\nlatency = \"10s\"\n[secrets.slow]\nfrom = \"mock:slow\"\n";
    let mut running = run().config(slow).spawn();
    let worker = running.worker();
    for process in [running.pid(), worker] {
        let environment = fs::read(format!("/proc/{process}/environ")).expect("it waits");
        let has = |text: &str| environment.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!has(&secret_id), "{process}");
        assert!(has("MY_SECRET_ID=") && has(&role_id), "the name stays, and the role id");
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.finish().code, 143);
}

#[test]
fn a_token_from_a_variable_of_another_name() {
    let Some(wanted) = Wanted::new() else { return };
    let token = wanted.vault.token(&[&wanted.policy]);
    let config = wanted.config("method = \"token\", token_env = \"STORE_TOKEN\"");
    let app = wanted.arrives(Run::new().config(&config).env("STORE_TOKEN", &token));
    assert!(app["environ"].get("STORE_TOKEN").is_none(), "{app}");
    // `auth` wins over VAULT_TOKEN, which the app does not get either.
    let run = Run::new().config(&config).env("STORE_TOKEN", &token).env("VAULT_TOKEN", "hvs.of-nobody");
    assert!(wanted.arrives(run)["environ"].get("VAULT_TOKEN").is_none());
    let run = Run::new().config(&config).env("STORE_TOKEN", "").env("VAULT_TOKEN", &token);
    assert!(wanted.is_denied(run).contains("cannot read the token: `STORE_TOKEN` is not set"));
}

#[test]
fn a_token_file_that_the_worker_may_not_read_is_told_with_owner_mode_and_remedy() {
    needs_root!();
    let Some(wanted) = Wanted::new() else { return };
    let directory = Directory::new();
    let file = directory.write("token", wanted.vault.token(&[&wanted.policy]));
    let config = wanted.config(&format!("method = \"token\", token_file = \"{}\"", file.display()));
    wanted.arrives(Run::new().config(&config));
    // It has no capabilities, so that root is not above the mode.
    chown(&file, Some(1234), Some(5678)).expect("root may");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("root may");
    let told = wanted.is_denied(Run::new().config(&config));
    for part in [
        &*format!("cannot read the token: cannot read `{}`: permission denied", file.display()),
        "owned by 1234:5678 with mode 0600, and we are 0:0 without capabilities",
        "make it readable for uid 0 or for one of its groups",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    fs::remove_file(&file).expect("root may");
    let told = wanted.is_denied(Run::new().config(&config));
    assert!(told.contains("no such file") && told.contains("must have written it before this start"), "{told}");
}

/// moto is asked for the identity, by Vault, and checks the signature.
#[test]
fn an_aws_identity_by_the_keys_in_the_environment() {
    let Some(wanted) = Wanted::new() else { return };
    let Some(moto) = Moto::start() else { return };
    let mount = random("aws-");
    wanted.vault.enable_aws(&mount, &moto, &[&wanted.policy]);
    let (id, secret) = moto.access_key();
    let config = wanted.config(&format!("method = \"aws\", mount = \"{mount}\", role = \"{ROLE}\""));
    let run = |config: &str, secret: &str| {
        let run = Run::new().config(config).env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        run.env("AWS_REGION", "eu-west-1")
    };
    // The header that only a request for this Vault has.
    let of =
        |header: &str| format!("method = \"aws\", mount = \"{mount}\", role = \"{ROLE}\", header_value = \"{header}\"");
    wanted.arrives(run(&wanted.config(&of("vault.example.org")), secret));
    for wrong in [&config, &wanted.config(&of("another.example.org"))] {
        let told = wanted.is_denied(run(wrong, secret));
        assert!(told.contains("Vault asks for a header X-Vault-AWS-IAM-Server-ID, or for another one"), "{told}");
        assert!(told.contains("`header_value` must be"), "{told}");
    }
    let client = json!({ "iam_server_id_header_value": "" });
    wanted.vault.must("POST", &format!("auth/{mount}/config/client"), client);

    let app = wanted.arrives(run(&config, secret));
    assert!(app["environ"].get("AWS_SECRET_ACCESS_KEY").is_none() && app["environ"].get("AWS_ACCESS_KEY_ID").is_none());
    assert_eq!(app["environ"]["AWS_REGION"], "eu-west-1");
    // Without a role, Vault takes that with the identity's own name.
    wanted.arrives(run(&wanted.config(&format!("method = \"aws\", mount = \"{mount}\"")), secret));

    let mut ledger = Ledger::default();
    let wrong = ledger.add("a wrong key");
    let told = wanted.is_denied(run(&config, &wrong));
    assert!(told.contains("AWS does not accept the signed request that Vault passes on"), "{told}");
    assert_eq!(ledger.find("standard error", told.as_bytes()), Vec::<String>::new());
    let other = wanted.config(&format!("method = \"aws\", mount = \"{mount}\", role = \"not-there\""));
    assert!(wanted.is_denied(run(&other, secret)).contains("there is no such role"));
    let role = json!({ "auth_type": "iam", "bound_iam_principal_arn": ["arn:aws:iam::123456789012:user/other"], "resolve_aws_unique_ids": false });
    wanted.vault.must("POST", &format!("auth/{mount}/role/other"), role);
    let other = wanted.config(&format!("method = \"aws\", mount = \"{mount}\", role = \"other\""));
    assert!(wanted.is_denied(run(&other, secret)).contains("the role is not for this AWS identity"));
    let told = wanted.is_denied(Run::new().config(&config));
    assert!(told.contains("no AWS credentials: environment: `AWS_ACCESS_KEY_ID` is not set"), "{told}");
}

#[test]
fn every_problem_of_a_login_is_told_at_once_at_its_place() {
    let config = "[providers.vault]\naddress = \"https://vault.internal\"\n\
        auth = { method = \"kubernetes\", jwt_env = \"X\", token_file = \"/a\", jwt_file = \"/b\" }\n\
        [providers.eu]\ntype = \"vault\"\nauth = { method = \"password\" }\n\
        [secrets.db]\nfrom = \"vault:kv/db\"\n";
    let outcome = Run::new().config(config).start();
    assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{outcome:?}");
    for part in [
        ":3:19: the login method `kubernetes` needs `role`",
        ":3:33: the login method `kubernetes` takes no `jwt_env`",
        ":3:78: `auth` has both `token_file` and `jwt_file`",
        ":6:19: `method` is \"password\", which is no login method",
    ] {
        assert!(outcome.stderr.contains(part), "no {part:?} in {outcome:?}");
    }
}

#[test]
fn a_variable_of_vaults_that_is_not_text_is_not_taken_for_unset() {
    let Some(wanted) = Wanted::new() else { return };
    for name in ["VAULT_CAPATH", "VAULT_CACERT", "VAULT_ADDR", "VAULT_NAMESPACE", "VAULT_SKIP_VERIFY", "VAULT_ROLE"] {
        let outcome = Run::new()
            .env("VAULT_ADDR", wanted.vault.address())
            .env("VAULT_TOKEN", "hvs.of-nobody")
            .env(name, OsStr::from_bytes(b"/ca/\xff"))
            .env("DB_FILE", "handfast:vault:kv/db")
            .start();
        assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{name}: {outcome:?}");
        assert!(outcome.stderr.contains(&format!("`{name}` is not UTF-8")), "{name}: {outcome:?}");
    }
}
