//! The repository's Dockerfile: what it makes, and that it makes the same again.
//!
//! Its build image is made of this machine's compilers. Where `build/release` has built here what is tested, its dependencies are
//! taken from there and not compiled again, for the time that it takes; that they compile without it was seen by that build.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use handfast_testservers::{Directory, Docker};
use serde_json::Value;

use crate::support::{find_program, require};

/// The largest image, in bytes.
const LARGEST: u64 = 6_000_000;

/// The step that compiles the dependencies, as BuildKit prints it.
const DEPENDENCIES: &str = "RUN build/tools && build/release";

#[test]
fn the_dockerfile_makes_one_file_in_one_layer_and_the_same_again() {
    let Some(tools) = build_tools() else { return };
    // One of its own: others are searched for secrets to the last byte, and this one will hold a compiler.
    let Some(docker) = Docker::start() else { return };
    import_build_image(&docker, &tools);
    let checkout = checkout();
    let work = Directory::new();

    let (first, _) = build(&docker, checkout.path(), &["--build-arg", "REVISION=abc123", "--tag", "first"]);
    let layers = first["RootFS"]["Layers"].as_array().expect("an image has layers");
    assert_eq!(layers.len(), 1, "{layers:?}");
    assert!(first["Size"].as_u64().is_some_and(|size| size <= LARGEST), "{}", first["Size"]);
    assert_eq!(first["Config"]["Entrypoint"], serde_json::json!(["/handfast"]));
    assert_eq!(first["Config"]["User"], "", "who it runs as is for the run to say");
    assert_labels(&first["Config"]["Labels"]);
    let binary = only_file(&docker, "first", &work);
    if let Some(target) = target_directory() {
        // Built in another directory, and the one that all tests are made with.
        let tested = target.join(format!("{}-unknown-linux-musl/release/handfast", std::env::consts::ARCH));
        assert!(fs::read(&tested).expect("it is there") == binary, "{} is another binary", tested.display());
    }
    assert_eq!(docker.must(&["run", "--rm", "--network", "none", "first", "--version"]), version_line());

    // Whatever else is in the checkout: the dependencies come from the cache, and what is built anew is the same.
    fs::write(checkout.path().join("examples/unrelated"), "").expect("it is ours");
    let (second, log) = build(&docker, checkout.path(), &["--build-arg", "REVISION=def456", "--tag", "second"]);
    let step = log.lines().find(|line| line.contains(DEPENDENCIES)).expect("the step is there");
    let number = step.split(' ').next().expect("each line begins with it");
    assert!(log.lines().any(|line| line == format!("{number} CACHED")), "{log}");
    assert!(!log.contains(&format!("{} CACHED", last_step(&log))), "nothing was built anew: {log}");
    assert_ne!(first["Id"], second["Id"], "the revision is in it");
    assert_eq!(first["RootFS"], second["RootFS"]);

    let bill = work.path().join("bill");
    let output = format!("type=local,dest={}", bill.display());
    run_build(&docker, checkout.path(), &["--target", "sbom", "--output", &output]);
    assert_bill(&bill.join("handfast.cdx.json"));
}

/// Where the programs of `build/tools` are: `tests/run` has them in PATH; or else they are installed now.
fn build_tools() -> Option<PathBuf> {
    if let Some(auditable) =
        find_program("cargo-auditable").filter(|path| path.with_file_name("auditable2cdx").is_file())
    {
        return auditable.parent().and_then(Path::parent).map(Path::to_owned);
    }
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("build-tools");
    let status = Command::new(root().join("build/tools")).arg(&tools).status().expect("there is a shell");
    require(status.success(), "the network, once, for the programs of build/tools").then_some(tools)
}

/// Where `build/release` has built the binary that is tested, if it has: the dependencies are taken from there, which is where
/// the minutes go.
fn target_directory() -> Option<PathBuf> {
    let tested = PathBuf::from(std::env::var_os("HANDFAST_BIN")?);
    let directory = tested.parent().filter(|parent| parent.ends_with("release"))?.ancestors().nth(2)?;
    Some(directory.to_owned())
}

fn import_build_image(docker: &Docker, tools: &Path) {
    let target = target_directory();
    let mut script = Command::new(root().join("tests/containers/build-image"));
    let mut tar = script.arg(tools).args(&target).stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    // What is compiled with other paths is another program to cargo.
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"));
    let mut environment = format!("ENV PATH=/usr/local/bin:/usr/bin:/bin CARGO_HOME={}", home.expect("cargo has one"));
    environment += " CARGO_NET_OFFLINE=true";
    if let Some(target) = target {
        environment += &format!(" CARGO_TARGET_DIR={}", target.display());
    }
    let mut import = docker.command(&["import", "--change", &environment, "-", "build-image"]);
    let imported = import.stdin(tar.stdout.take().expect("piped")).output().expect("the client starts");
    // Or the pipe would stay open, and keep who writes to it.
    drop(import);
    assert!(imported.status.success(), "{imported:?}");
    assert!(tar.wait().is_ok_and(|status| status.success()), "cannot make the build image");
}

/// A copy of the checkout, without what is no source, that a test may change.
fn checkout() -> Directory {
    let copy = Directory::new();
    let script = "tar -C \"$1\" --exclude ./target --exclude ./.git -c . | tar -C \"$2\" -x";
    let status = Command::new("sh").args(["-c", script, "copy"]).arg(root()).arg(copy.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot copy the checkout");
    copy
}

/// What the engine says of the image, and the builder's log.
fn build(docker: &Docker, context: &Path, options: &[&str]) -> (Value, String) {
    let log = run_build(docker, context, options);
    let name = options.last().expect("the name is the last");
    let image: Value = serde_json::from_str(&docker.must(&["image", "inspect", name])).expect("JSON");
    (image[0].clone(), log)
}

fn run_build(docker: &Docker, context: &Path, options: &[&str]) -> String {
    let context = context.to_str().expect("made of ASCII");
    let first = ["build", "--progress", "plain", "--network", "none", "--build-arg", "BUILD_IMAGE=build-image"];
    let mut command = docker.command(&[&first, options, &[context]].concat());
    let output = command.env("DOCKER_BUILDKIT", "1").output().expect("the client starts");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    log
}

/// `#12` of the last step that compiles.
fn last_step(log: &str) -> &str {
    let step = log.lines().rfind(|line| line.contains("RUN find src providers")).expect("the step is there");
    step.split(' ').next().expect("each line begins with it")
}

/// The content of the image's only file.
fn only_file(docker: &Docker, image: &str, work: &Directory) -> Vec<u8> {
    let saved = work.file("saved.tar");
    docker.must(&["save", "--output", &saved, image]);
    let tar = |words: &[&str]| {
        let output = Command::new("tar").args(words).output().expect("tar starts");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let names = String::from_utf8(tar(&["-tf", &saved])).expect("made of ASCII");
    let layers: Vec<&str> = names.lines().filter(|name| name.ends_with("/layer.tar")).collect();
    let [layer] = layers[..] else { panic!("not one layer: {names}") };
    let extracted = work.write("layer.tar", tar(&["-xOf", &saved, layer]));
    let layer = extracted.to_str().expect("made of ASCII");
    let listing = String::from_utf8(tar(&["--full-time", "--numeric-owner", "-tvf", layer])).expect("made of ASCII");
    let words: Vec<&str> = listing.split_whitespace().collect();
    let [mode, owner, _, date, time, name] = words[..] else { panic!("not one file: {listing}") };
    assert_eq!((mode, owner, name), ("-rwxr-xr-x", "0/0", "handfast"));
    assert_eq!((date, time), ("1970-01-01", "00:00:00"), "the layer's digest must not tell when it was built");
    tar(&["-xOf", layer, name])
}

fn assert_labels(labels: &Value) {
    let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default().to_owned();
    assert_eq!(label("title"), "handfast");
    assert_eq!(label("description"), env!("CARGO_PKG_DESCRIPTION"));
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("revision"), "abc123");
    assert_eq!(label("licenses"), "Apache-2.0 OR MIT");
}

/// The bill of materials is made of what is in the binary; it must have each library that counts, in the version of Cargo.lock.
fn assert_bill(path: &Path) {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let bill: Value = serde_json::from_reader(file).expect("the bill is JSON");
    assert_eq!(bill["bomFormat"], "CycloneDX");
    let components = bill["components"].as_array().expect("it has components");
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("it is there");
    for library in ["rustls", "ring", "tokio", "serde_json", "nix", "handfast-core"] {
        let found = components.iter().find(|component| component["name"] == library);
        let version = found.and_then(|component| component["version"].as_str()).unwrap_or_default();
        let locked = format!("name = \"{library}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&locked), "{library} `{version}` is not what Cargo.lock has");
    }
    let only_of_tests = ["rcgen", "handfast-testservers"];
    assert!(
        !components.iter().any(|one| only_of_tests.iter().any(|name| one["name"] == *name)),
        "what tests need is in it"
    );
}

fn version_line() -> String {
    format!("handfast {}", env!("CARGO_PKG_VERSION"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
