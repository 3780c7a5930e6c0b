//! The way to get keys if several are set up: the first in the documented order, or the configured way.

use handfast_core::{Table, Value};
use handfast_testkit::{Variables, run, table, text};
use handfast_testservers::AwsMetadata;

use crate::cloud::{Aws, instance, keys, secret};

/// All ways in their order, each with its own keys.
const WAYS: [(&str, &str); 5] = [
    ("env", "ASIAEXAMPLE"),
    ("web-identity", "ASIAPOD"),
    ("profile", "AKIAPROFILE"),
    ("container", "ASIATASK"),
    ("imds", "ASIAMACHINE"),
];

/// The environment with these ways.
fn with(aws: &Aws, task: &AwsMetadata, machine: &AwsMetadata, ways: &[(&str, &str)]) -> Variables {
    let has = |way: &str| ways.iter().any(|(known, _)| *known == way);
    let file = |name: &str, content: &str| aws.files.write(name, content).to_str().expect("text").to_owned();
    let mut variables = if has("env") { aws.with_keys() } else { aws.variables() };
    variables = variables.with("AWS_EC2_METADATA_DISABLED", "");
    if has("web-identity") {
        let token = file("token", "eyJ.of-a-pod");
        variables =
            variables.with("AWS_ROLE_ARN", "arn:aws:iam::1:role/web").with("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
    }
    if has("profile") {
        let profile = "[default]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n";
        variables = variables.with("AWS_SHARED_CREDENTIALS_FILE", &file("credentials", profile));
    }
    if has("container") {
        variables = variables
            .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &task.container())
            .with_credential("AWS_CONTAINER_AUTHORIZATION_TOKEN", task.authorization());
    }
    variables.with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &machine.address())
}

/// The id of the key that signs.
fn signer(settings: Table, variables: Variables, aws: &Aws) -> String {
    run(async { instance(settings, variables).value("aws:sm/web/db").await });
    let last = aws.store_requests().pop().expect("it was asked");
    let authorization = last.header("authorization").expect("it is signed").to_owned();
    let (_, credential) = authorization.split_once("Credential=").expect("it names its key");
    credential.split('/').next().unwrap_or_default().to_owned()
}

#[test]
fn the_first_way_that_is_set_up_is_used() {
    let aws = Aws::with_sts(vec![secret("there")], vec![keys("ASIAPOD")]);
    let (task, machine) = (AwsMetadata::start("ASIATASK", "x"), AwsMetadata::start("ASIAMACHINE", "x"));
    for (at, (way, id)) in WAYS.iter().enumerate() {
        let variables = with(&aws, &task, &machine, &WAYS[at..]);
        assert_eq!(signer(Table::default(), variables, &aws), *id, "{way}");
    }
}

#[test]
fn the_configured_way_is_used_whatever_is_set_up() {
    let aws = Aws::with_sts(vec![secret("there")], vec![keys("ASIAPOD")]);
    let (task, machine) = (AwsMetadata::start("ASIATASK", "x"), AwsMetadata::start("ASIAMACHINE", "x"));
    for (way, id) in WAYS {
        let auth = Value::Table(table([("method", text(way))]));
        let variables = with(&aws, &task, &machine, &WAYS);
        assert_eq!(signer(table([("auth", auth)]), variables, &aws), id, "{way}");
    }
}
