//! Secrets of Azure Key Vault, from the configuration to what the app finds.

mod support;

use handfast_testservers::{Azure, TENANT};
use serde_json::Value;
use support::{Run, canary};

/// A start that is an application with a client secret, as Microsoft's own tools are told, for the vault `main`.
fn run(azure: &Azure) -> Run {
    let (id, secret) = azure.application();
    Run::new()
        .env("AZURE_TENANT_ID", TENANT)
        .env("AZURE_CLIENT_ID", id)
        .env("AZURE_CLIENT_SECRET", secret)
        .env("AZURE_AUTHORITY_HOST", azure.address())
}

/// The configuration of the vault `main`, and more.
fn config(azure: &Azure, more: &str) -> String {
    format!(
        "[providers.azure]\nvault = \"{}\"\nendpoint_suffix_check = false\nca_file = \"{}\"\n{more}",
        azure.address(),
        azure.ca_file().display()
    )
}

/// What an app reads from its descriptor.
fn content(app: &Value, number: usize) -> String {
    let hex = app["descriptors"][number]["content"].as_str().expect("it was read").to_owned();
    let digits: Vec<char> = hex.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal");
    String::from_utf8(digits.chunks(2).map(byte).collect()).expect("text")
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
    assert_eq!(content(&app, 3), password);
    assert_eq!(app["environ"]["AZURE_CLIENT_SECRET"], Value::Null, "{app:#}");
    assert_eq!(app["environ"]["AZURE_TENANT_ID"], TENANT);
    assert!(!outcome.stderr.contains(&password), "{outcome:?}");
    // The challenge, the token, the secret.
    assert!(outcome.stderr.contains("`azure`: 3 requests"), "{outcome:?}");
}
