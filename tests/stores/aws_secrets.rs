//! Secrets and parameters of AWS, as moto has them, from the configuration to what the app finds.

use crate::support::{Directory, Run, canary, hex};
use handfast_testservers::{Moto, random};
use serde_json::{Value, json};

/// AWS' own variables, as an operator sets them.
fn run(moto: &Moto) -> Run {
    as_operator(Run::new(), moto)
}

pub fn as_operator(run: Run, moto: &Moto) -> Run {
    let (id, secret) = moto.access_key();
    run.env("AWS_ENDPOINT_URL", moto.address())
        .env("AWS_CA_BUNDLE", moto.ca_file())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", id)
        .env("AWS_SECRET_ACCESS_KEY", secret)
}

pub fn secret(moto: &Moto, name: &str, value: &str) -> Value {
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

/// What the policy of a configuration allows is needed, statement by statement. Without batches each secret is asked for by
/// itself; and moto does not look at two: whether each secret of a batch may be read, and who may decrypt.
#[test]
fn a_policy_is_enough_and_none_of_it_is_too_much() {
    let Some(moto) = Moto::shared() else { return };
    let name = random("web-");
    for (at, value) in ["a", "b"].iter().enumerate() {
        secret(moto, &format!("{name}/{at}"), value);
        parameter(moto, &format!("/{name}/one/{at}"), value);
        parameter(moto, &format!("/{name}/all/{at}"), value);
    }
    let directory = Directory::in_memory();
    let config = format!(
        "[files]\ndir = \"{}\"\n\
         [secrets.a]\nfrom = \"aws:sm/{name}/0\"\n[secrets.b]\nfrom = \"aws:sm/{name}/1\"\n\
         [secrets.c]\nfrom = \"aws:ssm/{name}/one/0\"\n[secrets.d]\nfrom = \"aws:ssm/{name}/one/1\"\n\
         [secrets.e]\nfrom = \"aws:ssm/{name}/all/*\"\nfile = \"e-*\"\n",
        directory.text()
    );
    let policy = as_operator(Run::command("policy"), moto).config(&config).start();
    assert_eq!(policy.code, 0, "{policy:?}");
    let policy: Value = serde_json::from_slice(&policy.stdout).expect("it is JSON");
    let mut statements = policy["Statement"].as_array().expect("a list").clone();
    assert_eq!(statements.len(), 5, "{policy:#}");
    // moto looks at actions, and asks for them on `*`.
    statements.iter_mut().for_each(|statement| statement["Resource"] = json!("*"));
    let start = |statements: Vec<Value>| {
        let key = moto.new_user(&random("web-"), &statements.into());
        let run = run(moto).env("AWS_ACCESS_KEY_ID", key.id).env("AWS_SECRET_ACCESS_KEY", key.secret);
        run.config(&config).args(["--log-level", "info"]).start()
    };
    let outcome = start(statements.clone());
    outcome.ran();
    outcome.says("`aws`: 3 requests");
    let action = |statement: &Value| statement["Action"].as_str().expect("text").to_owned();
    for without in statements.iter().map(action) {
        let batches = "secretsmanager:BatchGetSecretValue";
        let is_looked_at =
            |statement: &Value| without != "secretsmanager:GetSecretValue" || action(statement) != batches;
        let rest = statements.iter().filter(|statement| action(statement) != without && is_looked_at(statement));
        let outcome = start(rest.cloned().collect());
        match &*without {
            "secretsmanager:BatchGetSecretValue" => {
                outcome.ran();
                outcome.says("`aws`: 5 requests");
            }
            "kms:Decrypt" => drop(outcome.ran()),
            action => {
                outcome.refused(77, "");
                outcome.says(&format!("hint: allow `{action}` on `arn:aws:"));
            }
        }
    }
}

/// With `--online`, AWS says the account, the six characters, and whose key a secret has; to who may not ask, the account alone.
#[test]
fn a_policy_made_online_names_what_aws_says() {
    let Some(moto) = Moto::shared() else { return };
    let name = random("web-");
    let made = secret(moto, &format!("{name}/db"), "a");
    let key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let body = json!({ "Name": format!("{name}/own-key"), "SecretString": "b", "KmsKeyId": key });
    let with_key = moto.must("secretsmanager.CreateSecret", body);
    parameter(moto, &format!("/{name}/api"), "c");
    let policy = |run: Run, references: &[String]| {
        let references = references.iter().enumerate().map(|(at, reference)| format!("s{at}={reference}"));
        let run = references.fold(run.arg("--online"), |run, reference| run.arg("--secret").arg(reference));
        let outcome = run.start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let policy: Value = serde_json::from_slice(&outcome.stdout).expect("it is JSON");
        let statements = policy["Statement"].as_array().expect("a list").clone();
        statements.into_iter().map(|mut one| (one["Action"].take(), one["Resource"].take())).collect::<Vec<_>>()
    };
    let operator = || as_operator(Run::command("policy"), moto);
    let db = format!("aws:sm/{name}/db#password");
    // A secret whose key is AWS' own needs no right to decrypt.
    assert_eq!(
        policy(operator(), std::slice::from_ref(&db)),
        [(json!("secretsmanager:GetSecretValue"), made["ARN"].clone())]
    );
    let all =
        [db.clone(), format!("aws:sm/{name}/own-key"), format!("aws:ssm/{name}/api"), format!("aws:ssm/{name}/*")];
    let parameters = format!("arn:aws:ssm:us-east-1:123456789012:parameter/{name}");
    let expected = [
        (json!("secretsmanager:GetSecretValue"), json!([made["ARN"], with_key["ARN"]])),
        (json!("secretsmanager:BatchGetSecretValue"), json!("*")),
        (json!("ssm:GetParameters"), json!(format!("{parameters}/api"))),
        (json!("ssm:GetParametersByPath"), json!([parameters, format!("{parameters}/*")])),
        (json!("kms:Decrypt"), json!("*")),
    ];
    assert_eq!(policy(operator().args(["--dir", "/run/secrets"]), &all), expected);
    let nobody =
        moto.new_user(&random("web-"), &json!([{ "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*" }]));
    let run = operator().env("AWS_ACCESS_KEY_ID", nobody.id).env("AWS_SECRET_ACCESS_KEY", nobody.secret);
    let arn = format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}/db-??????");
    assert_eq!(policy(run, &[db])[0], (json!("secretsmanager:GetSecretValue"), json!(arn)));
}
