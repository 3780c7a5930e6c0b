//! Every way to AWS' keys, from the variables and files that its own tools read to what the app finds. moto is STS and the stores;
//! what hands keys to machines and containers is a fake of ours.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::{Directory, Outcome, Run, canary, hex};
use handfast_testservers::{Authority, AwsMetadata, Fault, FaultProxy, Moto, random};
use serde_json::json;

/// A secret in moto, and a run that wants it, without any credentials.
struct Scene {
    moto: &'static Moto,
    name: String,
    value: String,
}

impl Scene {
    fn new() -> Option<Self> {
        Self::of(Moto::shared()?)
    }

    /// One in which keys are not checked: it is seen who was asked for them.
    fn of_roles() -> Option<Self> {
        Self::of(Moto::unchecked()?)
    }

    fn of(moto: &'static Moto) -> Option<Self> {
        let (name, value) = (random("who-"), canary());
        moto.must("secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": value }));
        Some(Self { moto, name, value })
    }

    fn run(&self) -> Run {
        Run::new()
            .env("AWS_ENDPOINT_URL", self.moto.address())
            .env("AWS_CA_BUNDLE", self.moto.ca_file())
            .env("AWS_REGION", "us-east-1")
            .env("DB_PASSWORD_FILE", format!("handfast:aws:sm/{}", self.name))
    }

    /// The same with settings of the provider's.
    fn with(&self, settings: &str) -> Run {
        self.run().config(&format!("[providers.aws]\n{settings}"))
    }

    fn arrived(&self, outcome: &Outcome) {
        let app = outcome.ran();
        assert_eq!(app["descriptors"][3]["content"], hex(&self.value), "{outcome:?}");
        outcome.never_says(self.moto.access_key().1);
    }
}

#[test]
fn a_pods_role_is_assumed_with_its_token() {
    let Some(scene) = Scene::of_roles() else { return };
    let files = Directory::new();
    let token = files.write("token", "eyJ.of-a-pod\n");
    let run = scene.run().env("AWS_ROLE_ARN", scene.moto.new_role()).env("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
    let outcome = run.args(["--log-level", "info"]).start();
    scene.arrived(&outcome);
    outcome.says("`aws`: 2 requests");
    let outcome = scene.run().env("AWS_WEB_IDENTITY_TOKEN_FILE", &token).start();
    outcome.refused(77, "`AWS_WEB_IDENTITY_TOKEN_FILE` is set and `AWS_ROLE_ARN` is not");
    let run =
        scene.run().env("AWS_ROLE_ARN", scene.moto.new_role()).env("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token");
    run.start().refused(77, "/nowhere/token");
}

#[test]
fn a_container_is_given_keys_for_its_token_file_or_its_token() {
    let Some(scene) = Scene::new() else { return };
    let (id, secret) = scene.moto.access_key();
    let agent = AwsMetadata::start(id, secret);
    let files = Directory::new();
    let token = files.write("token", format!("{}\n", agent.authorization()));
    let container = || scene.run().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.container());
    scene.arrived(&container().env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token).start());
    let outcome = container().env("AWS_CONTAINER_AUTHORIZATION_TOKEN", agent.authorization()).start();
    scene.arrived(&outcome);
    assert!(outcome.ran()["environ"]["AWS_CONTAINER_AUTHORIZATION_TOKEN"].is_null(), "{outcome:?}");
    container().start().refused(77, "cannot get the container's AWS credentials");
    let away = scene.run().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/v1/credentials");
    away.start().refused(77, "is in clear text and leaves this machine");
}

#[test]
fn a_machine_is_given_keys_and_its_region_by_imds_version_2_alone() {
    let Some(scene) = Scene::new() else { return };
    let (id, secret) = scene.moto.access_key();
    let service = AwsMetadata::start(id, secret);
    let run = scene.run().env("AWS_REGION", "").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.address());
    scene.arrived(&run.start());
    let asked = service.lines();
    assert!(asked.iter().any(|line| line == "PUT /latest/api/token"), "{asked:?}");
    assert!(asked.iter().any(|line| line == "GET /latest/meta-data/placement/region"), "{asked:?}");
}

#[test]
fn profiles_have_keys_or_a_role_whose_source_is_another() {
    let Some(scene) = Scene::of_roles() else { return };
    let (id, secret) = scene.moto.access_key();
    let home = Directory::new();
    let credentials =
        home.write("credentials", format!("[base]\naws_access_key_id={id}\naws_secret_access_key={secret}\n"));
    let role = scene.moto.new_role();
    let config = home.write(
        "config",
        format!(
            "[profile web]\nrole_arn = {role}\nsource_profile = base\n[profile program]\ncredential_process = /bin/x\n\
             [profile round]\nrole_arn = {role}\nsource_profile = round-2\n\
             [profile round-2]\nrole_arn = {role}\nsource_profile = round\n"
        ),
    );
    let profile = |name: &str| {
        scene
            .run()
            .env("AWS_CONFIG_FILE", &config)
            .env("AWS_SHARED_CREDENTIALS_FILE", &credentials)
            .env("AWS_PROFILE", name)
            .env("AWS_EC2_METADATA_DISABLED", "true")
    };
    scene.arrived(&profile("base").start());
    scene.arrived(&profile("web").start());
    profile("program").start().refused(77, "`credential_process` is a program, and handfast starts none");
    profile("round").start().refused(77, "its roles lead in a circle");
    profile("none").start().refused(77, "`AWS_PROFILE` is \"none\", and there is no such profile in");
    // One that the configuration names is the only way, whatever the environment holds.
    let run = profile("none").env("AWS_ACCESS_KEY_ID", "AKIA").env("AWS_SECRET_ACCESS_KEY", "wrong");
    scene.arrived(&run.config("[providers.aws]\nprofile = \"web\"\n").start());
}

#[test]
fn a_role_of_the_configuration_is_assumed_on_top() {
    let Some(scene) = Scene::of_roles() else { return };
    let (id, secret) = scene.moto.access_key();
    let role = format!("role_arn = \"{}\"\nexternal_id = \"x\"\nsession_name = \"web\"\n", scene.moto.new_role());
    let run = scene.with(&role).env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
    let outcome = run.args(["--log-level", "info"]).start();
    scene.arrived(&outcome);
    outcome.says("`aws`: 2 requests");
    let wrong = scene.with("external_id = \"x\"\n");
    wrong.start().refused(78, "`external_id` is of a role, and there is none");
}

#[test]
fn sts_on_a_bad_day_is_asked_again() {
    let Some(scene) = Scene::of_roles() else { return };
    let ((id, secret), role) = (scene.moto.access_key(), scene.moto.new_role());
    for fault in [Fault::Status(503), Fault::Reset, Fault::Truncated, Fault::RetryAfter(429, "1".into())] {
        let (authority, files) = (Authority::new(), Directory::new());
        let pem = scene.moto.authority().pem();
        let both = files.write("both.pem", format!("{pem}{}", authority.pem()));
        let proxy = FaultProxy::in_front_of(scene.moto.address(), &pem, &authority);
        proxy.add(fault.clone().on("/").times(2));
        let run = scene.with(&format!("role_arn = \"{role}\"\n")).env("AWS_ACCESS_KEY_ID", id);
        let run = run.env("AWS_SECRET_ACCESS_KEY", secret).env("AWS_CA_BUNDLE", &both);
        scene.arrived(&run.env("AWS_ENDPOINT_URL_STS", proxy.address()).start());
        assert_eq!(proxy.lines(), ["POST /"; 3], "{fault:?}");
    }
}

#[test]
fn without_any_each_way_is_told_with_why_it_was_passed_over() {
    let Some(scene) = Scene::new() else { return };
    let home = Directory::new();
    let run = || scene.run().env("HOME", home.text());
    // A metadata service that takes connections and never answers, as it is to a container behind one hop too many.
    let silent = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = format!("http://{}", silent.local_addr().expect("it listens"));
    let outcome = run().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address).start();
    outcome.refused(77, "no AWS credentials: environment: `AWS_ACCESS_KEY_ID` is not set; web identity: `AWS_WEB_IDENTITY_TOKEN_FILE` is not set; profile: no profile `default` in");
    outcome.says("container: neither `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` nor `AWS_CONTAINER_CREDENTIALS_FULL_URI` is set; machine: ");
    outcome.says("hop limit");
    assert!(outcome.elapsed < Duration::from_secs(2), "{outcome:?}");
    // Nor is there a region then, which is told only where there are keys.
    let outcome = run().env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "").start();
    outcome.refused(77, "machine: `AWS_EC2_METADATA_DISABLED` is true");
}

#[test]
fn a_pinned_way_is_the_only_one() {
    let Some(scene) = Scene::new() else { return };
    let (id, secret) = scene.moto.access_key();
    for (method, told) in [
        ("web-identity", "no AWS credentials: web identity: `AWS_WEB_IDENTITY_TOKEN_FILE` is not set"),
        ("container", "no AWS credentials: container: neither"),
        ("profile", "no AWS credentials: profile: no profile"),
    ] {
        let run = scene.with(&format!("auth = {{ method = \"{method}\" }}\n"));
        let run = run.env("HOME", "/nowhere").env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        let outcome = run.start();
        outcome.refused(77, told);
        outcome.says("hint: this one way is pinned");
    }
    let run = scene.with("auth = { method = \"env\" }\n");
    scene.arrived(&run.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret).start());
}

#[test]
fn a_check_online_says_whose_keys_were_taken() {
    let Some(scene) = Scene::new() else { return };
    let (id, secret) = scene.moto.access_key();
    let check = Run::command("check").args(["--online", "--format", "json"]);
    let check = check.env("AWS_ENDPOINT_URL", scene.moto.address()).env("AWS_CA_BUNDLE", scene.moto.ca_file());
    let check = check.env("AWS_REGION", "us-east-1").env("DB_PASSWORD_FILE", format!("handfast:aws:sm/{}", scene.name));
    let outcome = check.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret).start();
    let report: serde_json::Value = serde_json::from_slice(&outcome.stdout).expect("it is JSON");
    assert_eq!((outcome.code, &report["providers"][0]["identity"]), (0, &json!("environment")), "{outcome:?}");
}

/// AWS' own tools ignore a half: so does a start, and says so, since another identity may have been meant.
#[test]
fn a_half_of_a_way_is_told_where_another_way_is_taken() {
    let Some(scene) = Scene::new() else { return };
    let (id, secret) = scene.moto.access_key();
    let files = Directory::new();
    let keys = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    let shared = files.write("credentials", &keys);
    let agent = AwsMetadata::start(id, secret);
    for (name, value, half) in [
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web", "`AWS_ROLE_ARN` is set and `AWS_WEB_IDENTITY_TOKEN_FILE` is not"),
        ("AWS_SESSION_TOKEN", "hunter2", "`AWS_SESSION_TOKEN` is set and `AWS_ACCESS_KEY_ID` is not"),
    ] {
        let run = || scene.run().env("AWS_SHARED_CREDENTIALS_FILE", &shared).env(name, value);
        let outcome = run().start();
        scene.arrived(&outcome);
        outcome.says(&format!("warn: {half}: AWS credentials were taken another way: profile `default`"));
        outcome.never_says("hunter2");
        let outcome = run().config("[providers.aws]\nauth = { method = \"profile\" }\n").start();
        scene.arrived(&outcome);
        outcome.never_says(half);
    }
    // Behind the way that is taken, nobody looks.
    let run = scene.run().env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
    let outcome = run.env("AWS_ROLE_ARN", "arn:aws:iam::1:role/web").args(["--log-level", "info"]).start();
    scene.arrived(&outcome);
    outcome.never_says("AWS_ROLE_ARN").says("info: AWS credentials taken: environment");
    for (name, value) in
        [("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hunter2"), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token")]
    {
        let run = scene.run().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", agent.address()).env(name, value);
        let outcome = run.env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere").args(["--log-level", "info"]).start();
        scene.arrived(&outcome);
        outcome.says(&format!("warn: `{name}` is set, and neither")).says("taken another way: machine");
        outcome.says(
            "info: AWS credentials taken: machine; passed over: environment: `AWS_ACCESS_KEY_ID` is not set; web",
        );
    }
}
