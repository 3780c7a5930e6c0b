//! The Dockerfiles of `examples`, and the one of `docs/environment-only-apps.md`, built and started as they say.

use std::fs;

use handfast_testservers::{Directory, Docker, Moto, REGION};
use serde_json::json;

use crate::container::Detached;
use crate::shell::{NO_NETWORK, Shell};
use crate::{markdown, programs};

fn engine() -> Option<&'static Docker> {
    let docker = programs::engine(&["python3", "useradd"])?;
    programs::build_python(docker);
    Some(docker)
}

/// The commands of a Dockerfile's comment, behind the one that makes the image `handfast`, which takes minutes and has a test of
/// its own (`dockerfile.rs`).
fn commands(dockerfile: &str) -> Vec<&str> {
    let mut commands = dockerfile.lines().filter_map(|line| line.strip_prefix("#   "));
    assert_eq!(commands.next(), Some("docker build -t handfast ."));
    commands.collect()
}

#[test]
fn an_image_is_what_its_comment_says() {
    let Some(docker) = engine() else { return };
    let (root, shell) = (markdown::root(), Shell::new(docker, NO_NETWORK, Vec::new()));
    let dockerfile = fs::read_to_string(root.join("examples/docker/Dockerfile")).expect("it is there");
    let [build, run] = commands(&dockerfile)[..] else { panic!("not two commands: {dockerfile}") };
    shell.must(root, build);
    assert_eq!(shell.must(root, run), "/run/secrets/db-password has 7 characters");

    let without = (dockerfile.replace("HANDFAST_DIR=/run/secrets ", ""), run.replace("--tmpfs /run/secrets ", ""));
    assert!(without.0 != dockerfile && without.1 != run);
    let place = Directory::new();
    place.write("Dockerfile", without.0);
    shell.must(place.path(), "docker build -t app .");
    assert_eq!(shell.must(place.path(), &without.1), "/dev/fd/3 has 7 characters");
}

/// What Lambda's own entry point comes to, for one event.
const LAMBDA_ENTRYPOINT: &str = r#"#!/bin/sh
cd "$LAMBDA_TASK_ROOT" && exec python3 -c "import os, ${1%.*} as module
print(os.environ['DB_PASSWORD_FILE'], module.${1#*.}({}, None))"
"#;

#[test]
fn a_function_of_lambda_reads_its_secret() {
    let (Some(docker), Some(moto)) = (engine(), Moto::start()) else { return };
    let moto = moto.with_tls();
    let secret = json!({ "password": "thirteen-long" }).to_string();
    moto.must("secretsmanager.CreateSecret", json!({ "Name": "web/db", "SecretString": secret }));
    let base = Directory::new();
    base.write("lambda-entrypoint.sh", LAMBDA_ENTRYPOINT);
    let lines = "FROM python\nENV LAMBDA_TASK_ROOT=/var/task\nCOPY lambda-entrypoint.sh /\n\
        RUN chmod 755 /lambda-entrypoint.sh\n";
    base.write("Dockerfile", lines);
    docker.build("public.ecr.aws/lambda/python:3.13", base.path(), &[]);

    let root = markdown::root();
    let dockerfile = fs::read_to_string(root.join("examples/aws/lambda/Dockerfile")).expect("it is there");
    let [build] = commands(&dockerfile)[..] else { panic!("not one command: {dockerfile}") };
    let (id, key) = moto.access_key();
    let environment = vec![
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", id.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", key.to_owned()),
        ("AWS_ENDPOINT_URL", moto.address().to_owned()),
        ("AWS_CA_BUNDLE", "/ca.pem".to_owned()),
    ];
    let variables: String = environment.iter().map(|(name, _)| format!("--env {name} ")).collect();
    let shell = Shell::new(docker, NO_NETWORK, environment);
    shell.must(root, build);
    let run = format!(
        "docker run --rm --network host --user 993:990 --cap-drop ALL --read-only {variables}--volume {}:/ca.pem:ro function",
        moto.ca_file()
    );
    assert_eq!(shell.must(root, &run), "/dev/fd/3 {'characters': 13}");
}

#[test]
fn a_wrapper_exports_the_value_and_gives_up_what_its_page_says() {
    let Some(docker) = engine() else { return };
    let blocks = markdown::page("docs/environment-only-apps.md").blocks();
    let block = |language: &str, start: &str| {
        let mut found = blocks.iter().filter(|block| block.language == language).map(markdown::Block::text);
        found.find(|text| text.starts_with(start)).unwrap_or_else(|| panic!("the page has no {language} {start}"))
    };
    let place = Directory::new();
    place.write("wrap", block("sh", "#!/bin/sh\n# /wrap: "));
    place.write("app", "#!/bin/sh\necho \"$DB_PASSWORD ${DB_PASSWORD_FILE-no path}\"\nsleep 1000\n");
    let dockerfile = "FROM busybox\nCOPY --from=handfast /handfast /handfast\nCOPY wrap app /\n\
        RUN chmod 755 /wrap /app\n"
        .to_owned();
    place.write("Dockerfile", dockerfile + &block("dockerfile", "ENTRYPOINT "));
    docker.build("wrapped", place.path(), &[]);
    let words = ["--env", "HANDFAST_USER=10001:10001", "--env", "DB_PASSWORD_FILE=handfast:mock:db", "wrapped"];
    let app = Detached::start(docker, &words);
    app.wait_for("mock-db no path\n");
    let exec = |file: &str| {
        let script = format!("tr '\\0' '\\n' <{file} | grep -c mock-db || true");
        docker.must(&["exec", "--user", "10001:10001", app.id(), "sh", "-c", &script])
    };
    assert_eq!((&*exec("/proc/1/environ"), &*exec("/proc/self/environ")), ("1", "0"));
    assert!(!docker.must(&["inspect", app.id(), "wrapped"]).contains("mock-db"));
    assert!(!docker.must(&["history", "--no-trunc", "wrapped"]).contains("mock-db"));
}
