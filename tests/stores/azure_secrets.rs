//! Secrets of Azure Key Vault, from the configuration to what the app finds.

use std::time::Duration;

use crate::support::{Directory, Run, canary, hex, needs_root};
use handfast_testservers::{Azure, Issuer, TENANT, in_own_network};
use serde_json::{Value, json};

/// A start that is an application with a client secret, as Microsoft's own tools are told, for the vault `main`.
fn run(azure: &Azure) -> Run {
    as_application(Run::new(), azure)
}

/// This start as an application with a client secret.
pub fn as_application(run: Run, azure: &Azure) -> Run {
    let (id, secret) = azure.application();
    run.env("AZURE_TENANT_ID", TENANT)
        .env("AZURE_CLIENT_ID", id)
        .env("AZURE_CLIENT_SECRET", secret)
        .env("AZURE_AUTHORITY_HOST", azure.address())
}

/// The configuration of the vault `main`, and more.
pub fn config(azure: &Azure, more: &str) -> String {
    format!(
        "[providers.azure]\nvault = \"{}\"\nendpoint_suffix_check = false\nca_file = \"{}\"\n{more}",
        azure.address(),
        azure.ca_file().display()
    )
}

#[test]
fn a_client_secret_in_the_environment_is_all_that_it_takes() {
    let Some(azure) = Azure::start() else { return };
    let password = canary();
    azure.set("db-password", &password);
    let outcome = run(&azure)
        .config(&config(&azure, ""))
        .env("DB_PASSWORD_FILE", "handfast:azure:db-password")
        .args(["--log-level", "info"])
        .start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let app = outcome.probe();
    assert_eq!(app["descriptors"][3]["content"], hex(&password));
    assert_eq!(app["environ"]["AZURE_CLIENT_SECRET"], Value::Null, "{app:#}");
    assert_eq!(app["environ"]["AZURE_TENANT_ID"], TENANT);
    assert!(!outcome.stderr.contains(&password), "{outcome:?}");
    // The challenge, the token, the secret.
    assert!(outcome.stderr.contains("`azure`: 3 requests"), "{outcome:?}");
}

#[test]
fn fields_and_bytes_become_files_and_descriptors() {
    let Some(azure) = Azure::start() else { return };
    azure.set("db", r#"{ "user": "web", "password": "hunter2" }"#);
    azure.set_with("tls", json!({ "value": "AAEC/w==", "contentType": "application/x-pkcs12" }));
    let more = "[secrets.password]\nfrom = \"azure:db#password\"\n[secrets.tls]\nfrom = \"azure:tls?decode=base64\"\n\
                [secrets.user]\nfrom = \"azure:db#user\"\n";
    let outcome = run(&azure).config(&config(&azure, more)).args(["--log-level", "info"]).start();
    let app = outcome.ran();
    assert_eq!(app["descriptors"][3]["content"], hex("hunter2"));
    assert_eq!(app["descriptors"][4]["content"], "000102ff");
    assert_eq!(app["descriptors"][5]["content"], hex("web"));
    // Two fields of one secret are one request.
    outcome.says("`azure`: 4 requests");
    outcome.says("warn: `endpoint_suffix_check = false`");
}

#[test]
fn a_hundred_secrets_do_not_trip_a_vault_that_takes_as_many_requests_at_once_as_there_are_by_default() {
    let Some(azure) = Azure::start() else { return };
    azure.set_up("vault?name=main", json!({ "limit": 32, "milliseconds": 20 }));
    let mut secrets = String::new();
    for number in 0..100 {
        azure.set(&format!("s{number}"), "x");
        secrets += &format!("[secrets.s{number}]\nfrom = \"azure:s{number}\"\n");
    }
    let start = |more: &str| {
        let outcome =
            run(&azure).config(&config(&azure, &format!("{secrets}{more}"))).args(["--log-level", "info"]).start();
        outcome.ran();
        outcome.stderr
    };
    // The challenge, the token, each secret once: nothing was refused, and asked for again.
    let told = start("");
    assert!(told.contains("`azure`: 102 requests"), "{told}");
    let told = start("[fetch]\nconcurrency = 64\n");
    assert!(told.contains("`azure`: ") && !told.contains("`azure`: 102 requests"), "{told}");
}

#[test]
fn nothing_to_log_in_with_is_told_in_full_in_less_than_two_seconds() {
    let outcome = Run::new()
        .env("DB_FILE", "handfast:azure:web/db")
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
        .start();
    outcome.refused(77, "cannot fetch `db` from `azure:web/db`: nothing to get a token of Entra ID with");
    assert!(outcome.elapsed < Duration::from_secs(2), "{outcome:?}");
    for tried in [
        "AZURE_CLIENT_SECRET is not set",
        "AZURE_CLIENT_CERTIFICATE_PATH is not set",
        "AZURE_FEDERATED_TOKEN_FILE is not set",
        "IDENTITY_ENDPOINT is not set",
        "http://127.0.0.1:1: connection refused",
    ] {
        outcome.says(tried);
    }
}

/// The same at the metadata service's own address, where something else may answer, or nobody.
#[test]
fn a_machine_without_a_metadata_service_is_told_in_time_too() {
    let outcome = Run::new().env("DB_FILE", "handfast:azure:web/db").start();
    outcome.refused(77, "nothing to get a token of Entra ID with");
    outcome.says("managed-identity of this machine: ");
    outcome.says("http://169.254.169.254");
    assert!(outcome.elapsed < Duration::from_secs(2), "{outcome:?}");
}

#[test]
fn what_is_wrong_with_settings_and_references_is_78_before_any_request() {
    for (toml, text) in [
        ("[secrets.a]\nfrom = \"azure:a\"\n", "no vault is named"),
        ("[secrets.a]\nfrom = \"azure:web/a_b\"\n", "`a_b` is not a secret's name"),
        ("[secrets.a]\nfrom = \"azure:w/a\"\n", "`w` is not a vault's name"),
        ("[secrets.a]\nfrom = \"azure:https://web.vault.azure.net/secrets/a\"\n", "write `web/a`"),
        ("[providers.azure]\nvault = \"https://web.example\"\n", "`endpoint_suffix_check = false`"),
        ("[providers.azure]\nvault = \"https://web.managedhsm.azure.net\"\n", "is a Managed HSM"),
        ("[providers.azure]\nauth = { method = \"azure-cli\" }\n", "expected \"client-secret\" or"),
        ("[providers.azure]\nauth = { method = \"client-certificate\", cert_file = \"/app.pfx\" }\n", "openssl pkcs12"),
        ("[providers.azure]\nauth = { method = \"client-secret\", token_file = \"/t\" }\n", "takes no `token_file`"),
    ] {
        let outcome = Run::new().config(toml).start();
        outcome.refused(78, "");
        outcome.says(text);
    }
}

#[test]
fn a_file_whose_content_is_no_credential_is_told_without_its_content() {
    let files = Directory::new();
    for (content, text) in [
        (&b"canary\nhunter2"[..], "has a line break or a control character in it"),
        (&b"canary-\xff"[..], "cannot use the client secret: it is not UTF-8"),
        (&b" \n"[..], "is empty"),
    ] {
        std::fs::write(files.path().join("secret"), content).expect("it is ours");
        let auth = format!(
            "method = \"client-secret\", tenant_id = \"t\", client_id = \"c\", client_secret_file = \"{}/secret\"",
            files.text()
        );
        let outcome = Run::new()
            .config(&format!("[providers.azure]\nauth = {{ {auth} }}\n"))
            .env("A_FILE", "handfast:azure:web/a")
            .start();
        outcome.refused(77, "");
        outcome.says(text).never_says("canary");
        match text {
            "is empty" => outcome.says(
                "whatever writes it must have written it before this start: its pod's volumes, or an init container",
            ),
            "cannot use the client secret: it is not UTF-8" => &outcome,
            _ => outcome.says("it must be one line, the credential itself and nothing else"),
        };
    }
}

/// `examples/azure/handfast.toml`, word for word, where Azure is at its own addresses: as a pod, and as a container app.
#[test]
fn the_example_runs_as_a_pod_and_as_a_container_app() {
    needs_root!();
    in_own_network(|| {
        let Some(azure) = Azure::in_this_network() else { return };
        azure.set("db", r#"{ "password": "hunter2" }"#);
        azure.set("tls", "AAEC/w==");
        let issuer = Issuer::new("https://oidc.example/");
        let subject = "system:serviceaccount:shop:web";
        let said = json!({ "tenant": TENANT, "id": "web", "issuer": issuer.name(), "subject": subject, "key": issuer.public_key() });
        azure.set_up("application", said);
        azure.set_up("identity", json!({ "tenant": TENANT }));
        let files = Directory::new();
        let token = issuer.token(subject, "api://AzureADTokenExchange");
        std::fs::write(files.path().join("token"), token).expect("it is ours");
        let pod = vec![
            ("AZURE_TENANT_ID", TENANT.to_owned()),
            ("AZURE_CLIENT_ID", "web".to_owned()),
            ("AZURE_FEDERATED_TOKEN_FILE", files.path().join("token").display().to_string()),
            ("AZURE_AUTHORITY_HOST", "https://localhost/".to_owned()),
        ];
        for variables in [pod, azure.app_service().to_vec()] {
            let directory = Directory::in_memory();
            let mut run = Run::new()
                .arg("--config")
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/azure/handfast.toml"))
                .config(&format!("[fetch]\nca_file = \"{}\"\n[providers.azure]\ncloud = \"kv.localhost\"\nauthority = \"https://localhost\"\n", azure.ca_file().display()))
                .args(["--dir", directory.text()])
                .env("KEY_VAULT", "main");
            azure.set_up("vault?name=main", json!({ "resource": "https://kv.localhost" }));
            for (name, value) in variables {
                run = run.env(name, value);
            }
            let app = run.start().ran();
            assert_eq!(app["CREDENTIALS_DIRECTORY"]["entries"]["db-password"]["content"], hex("hunter2"));
            assert_eq!(app["CREDENTIALS_DIRECTORY"]["entries"]["tls.pfx"]["content"], "000102ff");
            assert_eq!(app["environ"]["IDENTITY_HEADER"], Value::Null);
        }
    });
}

/// Another identity may have been meant: a start says at `info` whose it has, and `check --online` does.
#[test]
fn whose_identity_was_taken_is_told() {
    let Some(azure) = Azure::start() else { return };
    azure.set("db", "x");
    let (id, secret) = azure.application();
    let whose = format!("client-secret of the application `{id}` of `{TENANT}`");
    let told = |run: Run| {
        let run = run.config(&config(&azure, "")).env("DB_FILE", "handfast:azure:db");
        let run = run.env("AZURE_TENANT_ID", TENANT).env("AZURE_CLIENT_ID", &id).env("AZURE_CLIENT_SECRET", &secret);
        run.env("AZURE_AUTHORITY_HOST", azure.address()).start()
    };
    let outcome = told(Run::new().args(["--log-level", "info"]));
    outcome.ran();
    outcome.says(&format!("info: Azure credentials taken: {whose}"));
    let check = |format: &str| told(Run::command("check").args(["--online", "--format", format]));
    let text = check("text");
    let shown = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.code == 0 && shown.contains(&format!("azure (azure), logged in by {whose}\n")), "{text:?}");
    let report: Value = serde_json::from_slice(&check("json").stdout).expect("it is JSON");
    assert_eq!(report["providers"][0]["identity"], whose);
}

#[test]
fn a_workload_identity_without_its_client_is_not_the_nodes() {
    let Some(azure) = Azure::start() else { return };
    azure.set("db", "x");
    azure.set_up("identity", json!({ "tenant": TENANT }));
    let start = |variables: &[(&str, &str)]| {
        let run =
            Run::new().config(&config(&azure, "")).env("DB_FILE", "handfast:azure:db").args(["--log-level", "info"]);
        let run = run.env("AZURE_AUTHORITY_HOST", azure.address());
        let run = run.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.metadata());
        variables.iter().fold(run, |run, (name, value)| run.env(name, value)).start()
    };
    let node = start(&[]);
    node.ran();
    node.says("info: Azure credentials taken: managed-identity of this machine");
    let half = start(&[("AZURE_TENANT_ID", TENANT), ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token")]);
    half.refused(77, "AZURE_FEDERATED_TOKEN_FILE is set, and AZURE_CLIENT_ID is not set");
    half.says("azure.workload.identity/client-id");
}
