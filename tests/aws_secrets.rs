//! Secrets and parameters of AWS, as moto has them, from the configuration to what the app finds.

mod support;

use handfast_testservers::{Moto, random};
use serde_json::{Value, json};
use support::{Directory, Run, canary, hex};

/// AWS' own variables, as an operator sets them.
fn run(moto: &Moto) -> Run {
    let (id, secret) = moto.access_key();
    Run::new()
        .env("AWS_ENDPOINT_URL", moto.address())
        .env("AWS_CA_BUNDLE", moto.ca_file())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", id)
        .env("AWS_SECRET_ACCESS_KEY", secret)
}

fn secret(moto: &Moto, name: &str, value: &str) -> Value {
    moto.must("secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": value }))
}

fn parameter(moto: &Moto, name: &str, value: &str) {
    let body = json!({ "Name": name, "Value": value, "Type": "SecureString", "Overwrite": true });
    moto.must("AmazonSSM.PutParameter", body);
}

#[test]
fn keys_and_a_region_in_the_environment_are_all_that_it_takes() {
    let Some(moto) = Moto::shared() else { return };
    let (password, key, name) = (canary(), canary(), random("web-"));
    secret(moto, &format!("{name}/db"), &json!({ "password": password }).to_string());
    parameter(moto, &format!("/{name}/api-key"), &key);
    let outcome = run(moto)
        .env("DB_PASSWORD_FILE", format!("handfast:aws:sm/{name}/db#password"))
        .env("API_KEY_FILE", format!("handfast:aws:ssm/{name}/api-key"))
        .args(["--log-level", "info"])
        .start();
    let app = outcome.ran();
    assert_eq!(app["descriptors"][3]["content"], hex(&key), "{outcome:?}");
    assert_eq!(app["descriptors"][4]["content"], hex(&password), "{outcome:?}");
    assert_eq!(app["environ"]["AWS_REGION"], "us-east-1");
    for gone in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        assert_eq!(app["environ"][gone], Value::Null, "{app:#}");
    }
    outcome.says("`aws`: 2 requests");
    for value in [&*password, &key, moto.access_key().1] {
        outcome.never_says(value);
    }
}

#[test]
fn fields_lists_and_versions_become_files() {
    let Some(moto) = Moto::shared() else { return };
    let name = random("web-");
    let made = secret(moto, &format!("{name}/db"), r#"{"user":"web","password":"old"}"#);
    let put = json!({ "SecretId": format!("{name}/db"), "SecretString": r#"{"user":"web","password":"new"}"# });
    moto.must("secretsmanager.PutSecretValue", put);
    for (path, value) in [("a", "1"), ("b/c", "2"), ("b/d", "3")] {
        parameter(moto, &format!("/{name}/{path}"), value);
    }
    parameter(moto, &format!("/{name}/a"), "changed");
    let directory = Directory::in_memory();
    let (arn, version) = (made["ARN"].as_str().expect("text"), made["VersionId"].as_str().expect("text"));
    let config = format!(
        "[files]\ndir = \"{}\"\n\
         [secrets.all]\nfrom = \"aws:sm/{name}/db#*\"\nfile = \"db-*\"\n\
         [secrets.arn]\nfrom = \"aws:sm/{arn}#password\"\n\
         [secrets.part]\nfrom = \"aws:sm/{}#password\"\n\
         [secrets.version]\nfrom = \"aws:sm/{name}/db?version={version}#password\"\n\
         [secrets.previous]\nfrom = \"aws:sm/{name}/db?stage=AWSPREVIOUS#password\"\n\
         [secrets.list]\nfrom = \"aws:ssm/{name}/*\"\nfile = \"list-*\"\n\
         [secrets.first]\nfrom = \"aws:ssm/{name}/a?version=1\"\n",
        directory.text(),
        &arn[..arn.len() - 7],
    );
    let outcome = run(moto).config(&config).args(["--log-level", "info"]).start();
    outcome.ran();
    let read = |file: &str| std::fs::read_to_string(directory.path().join(file)).unwrap_or_else(|_| panic!("{file}"));
    for (file, value) in [
        ("db-user", "web"),
        ("db-password", "new"),
        ("arn", "new"),
        ("part", "new"),
        ("version", "old"),
        ("previous", "old"),
        ("list-a", "changed"),
        ("list-b.c", "2"),
        ("list-b.d", "3"),
        ("first", "1"),
    ] {
        assert_eq!(read(file), value, "{file}");
    }
}
