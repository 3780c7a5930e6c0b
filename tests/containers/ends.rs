//! Signals, exit codes and messages, from the app or from handfast to the engine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::container::{Detached, run};
use crate::images::{BUSYBOX, DEBIAN, SCRATCH, engine};
use crate::support::Directory;

/// What `docker stop` waits before it kills, unless told.
const GRACE: Duration = Duration::from_secs(10);

const SECRET: [&str; 2] = ["--env", "DB_PASSWORD_FILE=handfast:mock:db"];

/// A shell that ends itself at SIGTERM, and nothing else would.
const HANDLES: &str = "trap 'echo got TERM; exit 7' TERM; echo ready; while :; do sleep 1 & wait; done";

#[test]
fn docker_stop_reaches_an_app_that_handles_it_at_once() {
    let Some(docker) = engine() else { return };
    for init in [&[][..], &["--init"]] {
        let app = Detached::start(docker, &[init, &SECRET, &[BUSYBOX, "sh", "-c", HANDLES]].concat());
        app.wait_for("ready");
        let asked = Instant::now();
        docker.must(&["stop", app.id()]);
        assert!(asked.elapsed() < GRACE / 2, "{init:?}: {:?}", asked.elapsed());
        assert_eq!(app.code(), 7, "{init:?}");
        assert_eq!(app.logs().0, "ready\ngot TERM\n");
    }
}

#[test]
fn an_app_that_does_not_handle_it_needs_an_init() {
    let Some(docker) = engine() else { return };
    // As process 1 it is spared what it does not handle, whoever has started it: here is the same without handfast.
    for direct in [true, false] {
        let entrypoint: &[&str] = if direct { &["--entrypoint", "/bin/sleep"] } else { &[] };
        let command: &[&str] = if direct { &["1000"] } else { &["sleep", "1000"] };
        let app = Detached::start(docker, &[&SECRET, entrypoint, &[BUSYBOX], command].concat());
        app.until_it_runs(if direct { "/bin/sleep 1000" } else { "sleep 1000" });
        docker.must(&["stop", "--time", "1", app.id()]);
        assert_eq!(app.code(), 137, "direct: {direct}");
    }
    let app = Detached::start(docker, &[&["--init"], &SECRET[..], &[BUSYBOX, "sleep", "1000"]].concat());
    app.until_it_runs("sleep 1000");
    let asked = Instant::now();
    docker.must(&["stop", app.id()]);
    assert!(asked.elapsed() < GRACE / 2, "{:?}", asked.elapsed());
    assert_eq!(app.code(), 143);
}

#[test]
fn docker_stop_ends_a_start_that_still_fetches() {
    let Some(docker) = engine() else { return };
    let directory = Directory::new();
    let config = directory.write("slow.toml", "[providers.mock]\nlatency = \"50s\"\n");
    let volume = format!("{}:/etc/handfast.toml:ro", config.display());
    let words = ["--volume", &volume, "--env", "HANDFAST_LOG_LEVEL=debug"];
    let app = Detached::start(docker, &[&words, &SECRET[..], &[SCRATCH]].concat());
    app.wait_for("mock");
    let asked = Instant::now();
    docker.must(&["stop", app.id()]);
    assert!(asked.elapsed() < GRACE / 2, "{:?}", asked.elapsed());
    assert_eq!(app.code(), 143);
    assert_eq!(app.logs().0, "");
}

#[test]
fn docker_run_returns_the_apps_exit_code() {
    let Some(docker) = engine() else { return };
    for code in [0, 1, 42, 64, 78, 125, 126, 127, 143, 255] {
        let text = code.to_string();
        let outcome = run(docker, &[&SECRET[..], &[SCRATCH, "/probe", "--exit", &text]].concat());
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(outcome.app_ran());
    }
    // 128+n, where the app is killed: under an init, since process 1 cannot kill itself; or from outside.
    for (signal, code) in [("KILL", 137), ("SEGV", 139), ("TERM", 143)] {
        let kill = format!("kill -{signal} $$");
        let outcome = run(docker, &[&["--init"], &SECRET[..], &[BUSYBOX, "sh", "-c", &kill]].concat());
        assert_eq!(outcome.code, code, "{outcome:?}");
    }
    let app = Detached::start(docker, &[&SECRET[..], &[BUSYBOX, "sh", "-c", HANDLES]].concat());
    app.wait_for("ready");
    docker.must(&["kill", app.id()]);
    assert_eq!(app.code(), 137);
}

#[test]
fn docker_logs_has_the_apps_output_and_of_ours_only_warnings() {
    let Some(docker) = engine() else { return };
    let script = "echo to stdout; echo to stderr >&2";
    let app = Detached::start(docker, &[&SECRET[..], &[DEBIAN, "sh", "-c", script]].concat());
    assert_eq!(app.code(), 0);
    let (stdout, stderr) = app.logs();
    assert_eq!(stdout, "to stdout\n");
    let (ours, theirs): (Vec<&str>, Vec<&str>) = stderr.lines().partition(|line| line.starts_with("handfast: "));
    assert_eq!(theirs, ["to stderr"]);
    assert!(!ours.is_empty() && ours.iter().all(|line| line.starts_with("handfast: warn: ")), "{stderr}");
    // Where there is nothing to warn of, there is nothing at all.
    let directory = Directory::in_memory();
    let source = format!("{}:/run/source:ro", directory.write("db", "value").display());
    let quiet = ["--volume", &source, "--user", "10001:10001", "--env", "DB_FILE=handfast:file:/run/source"];
    let app = Detached::start(docker, &[&quiet[..], &[DEBIAN, "sh", "-c", script]].concat());
    assert_eq!(app.code(), 0);
    assert_eq!(app.logs(), ("to stdout\n".into(), "to stderr\n".into()));
}

#[test]
fn each_failure_of_ours_has_its_code_and_leaves_a_termination_message() {
    let Some(docker) = engine() else { return };
    let directory = Directory::new();
    let message = directory.write("message", "");
    let failing =
        directory.write("failing.toml", "[fetch]\ndeadline = \"1s\"\n[providers.mock]\nfail = \"unavailable\"\n");
    let malformed = directory.write("malformed.toml", "[providers.mock]\nfail = \"malformed\"\n");
    let (failing, malformed) =
        (format!("{}:/etc/handfast.toml", failing.display()), format!("{}:/etc/handfast.toml", malformed.display()));
    let cases: &[(i32, &str, &[&str])] = &[
        (65, "malformed", &["--volume", &malformed, SECRET[0], SECRET[1], SCRATCH]),
        (66, "no such file", &["--env", "DB_FILE=handfast:file:/run/missing", SCRATCH]),
        (69, "does not answer", &["--volume", &failing, SECRET[0], SECRET[1], SCRATCH]),
        (73, "not on a tmpfs", &["--env", "HANDFAST_DIR=/dir", "--volume", "/dir", SECRET[0], SECRET[1], SCRATCH]),
        (77, "permission denied", &["--user", "10001", "--env", "DB_FILE=handfast:file:/run/secret", SCRATCH]),
        (78, "nosuch", &["--env", "DB_FILE=handfast:nosuch:db", SCRATCH]),
        (125, "the capability SETUID is missing", &["--cap-drop", "ALL", SECRET[0], SECRET[1], SCRATCH]),
        (126, "cannot execute `/run/secret`", &[SECRET[0], SECRET[1], SCRATCH, "/run/secret"]),
        (127, "cannot find the command `nosuch`", &[SECRET[0], SECRET[1], SCRATCH, "nosuch"]),
    ];
    let secret = Directory::in_memory();
    let file = secret.write("secret", "value");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let volumes = [format!("{}:/dev/termination-log", message.display()), format!("{}:/run/secret:ro", file.display())];
    for format in ["text", "json"] {
        for (code, text, words) in cases {
            fs::write(&message, "").expect("it is ours");
            // As the kubelet makes it.
            fs::set_permissions(&message, fs::Permissions::from_mode(0o666)).expect("it is ours");
            let setting = format!("HANDFAST_LOG_FORMAT={format}");
            let first = ["--volume", &volumes[0], "--volume", &volumes[1], "--env", &setting];
            let outcome = run(docker, &[&first, *words].concat());
            outcome.refused(*code, text);
            let left = fs::read_to_string(&message).expect("it is ours");
            assert_eq!(left, format!("{}\n", outcome.last_line()), "{outcome:?}");
            if format == "json" {
                let line: serde_json::Value = serde_json::from_str(&left).expect("one line of JSON");
                assert_eq!(line["exit"], *code);
            }
        }
    }
}
