//! The configurations of `examples/aws`, word for word, against moto, as a user who may do what `handfast policy` prints for it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Directory, Outcome, Run, canary, hex, needs_root};
use handfast_testservers::{AccessKey, Moto, REGION, random};
use serde_json::{Value, json};

/// What the examples read, in a region of their own, so that the tests of this file do not meet.
struct World {
    moto: &'static Moto,
    region: String,
    value: String,
    /// The ARNs of all of it.
    arns: Vec<String>,
}

impl World {
    fn new(region: &str) -> Option<Self> {
        let (moto, value) = (Moto::shared()?, canary());
        let must = |target, body| moto.must_in(region, target, body);
        let data = json!({ "username": "web", "password": value }).to_string();
        let mut arns = Vec::new();
        for (name, value) in [("web/db", &data), ("web/api", &value)] {
            let made = must("secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": value }));
            arns.push(made["ARN"].as_str().expect("text").to_owned());
        }
        for tenant in ["a", "b"] {
            let (name, value) = (format!("/prod/web/tenants/{tenant}"), format!("{value}{tenant}"));
            must("AmazonSSM.PutParameter", json!({ "Name": name, "Value": value, "Type": "SecureString" }));
        }
        arns.push(format!("arn:aws:ssm:{region}:123456789012:parameter/prod/web/tenants"));
        Some(Self { moto, region: region.to_owned(), value, arns })
    }

    /// Runs a command of handfast's as this user.
    fn run(&self, run: Run, key: &AccessKey) -> Run {
        run.env("AWS_ENDPOINT_URL", self.moto.address())
            .env("AWS_CA_BUNDLE", self.moto.ca_file())
            .env("AWS_REGION", &self.region)
            .env("AWS_ACCESS_KEY_ID", &key.id)
            .env("AWS_SECRET_ACCESS_KEY", &key.secret)
    }

    /// A user with the policy that `handfast policy` prints. moto looks at the actions of a policy and asks for them on `*`;
    /// that each resource is in it too is compared here.
    fn granted(&self, arguments: impl Fn(Run) -> Run, resources: &[usize]) -> AccessKey {
        let nobody = AccessKey { id: "AKIAEXAMPLE".into(), secret: "none".into() };
        let outcome = self.run(arguments(Run::command("policy")), &nobody).start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let policy: Value = serde_json::from_slice(&outcome.stdout).expect("it is JSON");
        let mut statements = policy["Statement"].as_array().expect("a list").clone();
        let patterns: Vec<&str> = statements.iter().flat_map(|one| texts(&one["Resource"])).collect();
        for at in resources {
            let arn = &self.arns[*at];
            assert!(patterns.iter().any(|pattern| *pattern != "*" && glob(pattern, arn)), "{arn}: {policy:#}");
        }
        for statement in &mut statements {
            statement["Resource"] = json!("*");
        }
        self.moto.new_user(&random("web-"), &statements.into())
    }

    fn starts(&self, outcome: &Outcome) -> Value {
        outcome.never_says(&self.value);
        outcome.ran()
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    }
}

/// As IAM has it: `*` for any text, `?` for one character.
fn glob(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            glob(&pattern[1..], text)
                || text.chars().next().is_some_and(|first| glob(pattern, &text[first.len_utf8()..]))
        }
        (Some(expected), Some(found)) if expected == '?' || expected == found => {
            glob(&pattern[expected.len_utf8()..], &text[found.len_utf8()..])
        }
        _ => false,
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/aws").join(name)
}

#[test]
fn a_configuration_gets_fields_values_and_a_file_for_each_tenant() {
    needs_root!();
    // The region that the example names.
    let Some(world) = World::new("eu-west-1") else { return };
    let directory = Directory::in_memory();
    let arguments = |run: Run| run.arg("--config").arg(example("handfast.toml")).args(["--dir", directory.text()]);
    let key = world.granted(arguments, &[0, 1, 2]);
    let outcome = world.run(arguments(Run::new()), &key).args(["--log-level", "info"]).start();
    let app = world.starts(&outcome);
    let files = &app["CREDENTIALS_DIRECTORY"]["entries"];
    for (file, value) in [
        ("db-password", world.value.clone()),
        ("db-user", "web".into()),
        ("api-key", world.value.clone()),
        ("tenant-a", format!("{}a", world.value)),
        ("tenant-b", format!("{}b", world.value)),
    ] {
        assert_eq!(files[file]["content"], hex(value), "{file}");
    }
    // Two secrets in one, and the list.
    outcome.says("`aws`: 2 requests");
}

#[test]
fn a_pod_gets_what_its_config_map_says() {
    needs_root!();
    let Some(world) = World::new("eu-west-2") else { return };
    let manifest = fs::read_to_string(example("eks.yaml")).expect("it is there");
    let (_, rest) = manifest.split_once("  handfast.toml: |\n").expect("the config map");
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let config: String = lines.map(|line| format!("{}\n", line.trim_start_matches("    "))).collect();
    let directory = Directory::in_memory();
    let arguments = |run: Run| run.config(&config).args(["--dir", directory.text()]);
    let key = world.granted(arguments, &[0, 2]);
    let app = world.starts(&world.run(arguments(Run::new()), &key).start());
    let files = &app["CREDENTIALS_DIRECTORY"]["entries"];
    assert_eq!(files["db-password"]["content"], hex(&world.value));
    assert_eq!(files["tenant-b"]["content"], hex(format!("{}b", world.value)));
}

#[test]
fn a_task_gets_descriptors() {
    let Some(world) = World::new("eu-west-3") else { return };
    let text = fs::read_to_string(example("ecs-task-definition.json")).expect("it is there");
    let definition: Value = serde_json::from_str(&text).expect("it is JSON");
    let container = &definition["containerDefinitions"][0];
    assert_eq!(container["entryPoint"], json!(["/handfast", "run", "--"]));
    let variables = container["environment"].as_array().expect("a list");
    let arguments = |run: Run| {
        variables
            .iter()
            .filter(|one| one["name"] != "AWS_REGION")
            .fold(run, |run, one| run.env(one["name"].as_str().expect("text"), one["value"].as_str().expect("text")))
    };
    let key = world.granted(arguments, &[0, 1]);
    let app = world.starts(&world.run(arguments(Run::new()), &key).start());
    assert_eq!(
        (&app["environ"]["API_KEY_FILE"], &app["environ"]["DB_PASSWORD_FILE"]),
        (&json!("/dev/fd/3"), &json!("/dev/fd/4"))
    );
    assert_eq!(app["descriptors"][4]["content"], hex(&world.value));
}

#[test]
fn a_function_keeps_its_own_credentials() {
    let Some(world) = World::new("eu-north-1") else { return };
    let arguments = |run: Run| run.arg("--config").arg(example("lambda/handfast.toml"));
    let key = world.granted(arguments, &[0]);
    let app = world.starts(&world.run(arguments(Run::new()), &key).start());
    assert_eq!(app["descriptors"][3]["content"], hex(&world.value));
    assert_eq!(app["environ"]["AWS_SECRET_ACCESS_KEY"], key.secret.as_str());
    assert_eq!(app["environ"]["AWS_ACCESS_KEY_ID"], key.id.as_str());
    // The image starts it so.
    let image = fs::read_to_string(example("lambda/Dockerfile")).expect("it is there");
    assert!(image.contains("COPY handfast.toml /etc/handfast.toml\n"));
    assert!(image.contains("ENTRYPOINT [\"/handfast\", \"run\", \"--\", \"/lambda-entrypoint.sh\"]\n"));
    assert_ne!(world.region, REGION);
}
