//! Where settings come from, and which one holds: command line, then environment, then files, a later one over an earlier.

use crate::support::{Directory, Outcome, Run, is_root, needs_root};
use serde_json::Value;

/// `handfast check --format json`: what a start would do.
fn check() -> Run {
    Run::command("check").args(["--format", "json"])
}

fn plan(run: Run) -> Value {
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    serde_json::from_slice(&outcome.stdout).expect("check prints JSON")
}

/// The refusal of a start, whole.
fn refusal(run: Run) -> Outcome {
    let outcome = run.start();
    assert_eq!(outcome.code, 78, "{outcome:?}");
    outcome
}

const FILE: &str = "[app]\nuser = \"1001:1001\"\n[fetch]\ndeadline = \"1s\"\n[files]\ndir = \"/dev/shm/file\"\n";

#[test]
fn the_command_line_wins_over_the_environment_over_the_file() {
    needs_root!();
    let with_file = || check().config(FILE).arg("--secret").arg("db=mock:db");
    let with_both = || {
        let environment =
            [("HANDFAST_USER", "1002:1002"), ("HANDFAST_DEADLINE", "2s"), ("HANDFAST_DIR", "/dev/shm/variable")];
        environment.iter().fold(with_file(), |run, (name, value)| run.env(name, value))
    };
    let with_all = || with_both().args(["-u", "1003:1003", "--deadline", "3s", "--dir", "/dev/shm/option"]);
    for (run, uid, deadline, directory) in [
        (with_file(), 1001, 1000, "file"),
        (with_both(), 1002, 2000, "variable"),
        (with_all(), 1003, 3000, "option"),
        // An empty variable counts as unset.
        (with_both().env("HANDFAST_USER", "").env("HANDFAST_DEADLINE", "").env("HANDFAST_DIR", ""), 1001, 1000, "file"),
    ] {
        let plan = plan(run);
        assert_eq!((&plan["app"]["uid"], &plan["app"]["gid"]), (&uid.into(), &uid.into()));
        assert_eq!(plan["deadline_ms"], deadline);
        assert_eq!(plan["secrets"][0]["to"]["file"], format!("/dev/shm/{directory}/db"));
    }
}

#[test]
fn a_later_file_replaces_single_keys() {
    let plan = plan(
        check()
            .config("[fetch]\ndeadline = \"1s\"\n[providers.mock]\nfail = \"denied\"\nlatency = \"1s\"\n[secrets.db]\nfrom = \"mock:first\"\nfd = 9\n")
            .config("[fetch]\nconcurrency = 3\n[providers.mock]\nlatency = \"2s\"\n[secrets.db]\nfrom = \"mock:second\"\n[secrets.more]\nfrom = \"mock:more\"\n"),
    );
    assert_eq!(plan["deadline_ms"], 1000, "what the later file does not say stays");
    let secrets = plan["secrets"].as_array().expect("a list");
    assert_eq!(secrets.len(), 2);
    assert_eq!((&secrets[0]["from"], &secrets[0]["to"]["fd"]), (&"mock:second".into(), &9.into()));
    // `fail` of the first file still holds.
    let outcome = Run::new()
        .config("[providers.mock]\nfail = \"denied\"\n")
        .config("[providers.mock]\nlatency = \"1ms\"\n[secrets.db]\nfrom = \"mock:db\"\n")
        .start();
    assert_eq!(outcome.code, 77, "{outcome:?}");
}

#[test]
fn problems_of_all_files_variables_and_options_are_told_at_once_in_order() {
    let outcome = refusal(
        Run::new()
            .config("[app]\nusr = \"x\"\n[files]\nmode = \"0777\"\n")
            .config("[fetch]\nconcurrency = 0\n")
            .env("PASSWORD", "handfast:mock:db")
            .args(["-s", "=", "--deadline", "x"]),
    );
    let places: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("error: ")).collect();
    let expected = [
        "/handfast-1.toml:2:1: unknown key",
        "/handfast-1.toml:4:8: `mode`",
        "/handfast-2.toml:2:15: `concurrency`",
        "error: command line: `--secret =`",
        "error: command line: `deadline`",
        "error: environment: `PASSWORD`",
        "error: the configuration has 6 problems; nothing was fetched; the first: ",
    ];
    assert_eq!(places.len(), expected.len(), "{places:#?}");
    assert!(places.iter().zip(expected).all(|(line, expected)| line.contains(expected)), "{places:#?}");
    // The last line alone says one of them: it is all that Kubernetes shows.
    let first = places[0].trim_start_matches("handfast: error: ");
    assert!(places[6].ends_with(&format!("the first: {first} (config, exit 78)")), "{places:#?}");
}

#[test]
fn the_variable_names_the_file_unless_an_option_does() {
    let directory = Directory::new();
    let named = directory.write("named.toml", "[fetch]\ndeadline = \"7s\"\n");
    assert_eq!(plan(check().env("HANDFAST_CONFIG", &named))["deadline_ms"], 7000);
    let both = check().env("HANDFAST_CONFIG", &named).config("[fetch]\nconcurrency = 3\n");
    assert_eq!(plan(both)["deadline_ms"], 60_000, "the option replaces the variable, it adds nothing to it");
    refusal(check().env("HANDFAST_CONFIG", "/no/such/file.toml"));
    assert_eq!(plan(check().env("HANDFAST_CONFIG", ""))["deadline_ms"], 60_000);
}

#[test]
fn without_a_name_it_is_the_file_in_etc_when_that_exists() {
    needs_root!();
    let directory = Directory::new();
    let file = directory.write("handfast.toml", "[fetch]\ndeadline = \"9s\"\n");
    // A copy of /etc as it is, so that nothing of the machine's changes.
    let etc = directory.path().join("etc");
    std::fs::create_dir(&etc).expect("it is ours");
    let text = |path: &std::path::Path| path.to_str().expect("made of ASCII").to_owned();
    let bind = format!("{}:/etc", text(&etc));
    assert_eq!(plan(check().confine(&["--bind", &bind]))["deadline_ms"], 60_000);
    std::fs::copy(&file, etc.join("handfast.toml")).expect("it is ours");
    assert_eq!(plan(check().confine(&["--bind", &bind]))["deadline_ms"], 9000);
    let named = check().confine(&["--bind", &bind]).config("[fetch]\ndeadline = \"8s\"\n");
    assert_eq!(plan(named)["deadline_ms"], 8000);
    // What is there and cannot be read is no "not there": a dangling link, a directory.
    std::fs::remove_file(etc.join("handfast.toml")).expect("it is ours");
    std::os::unix::fs::symlink("/nowhere", etc.join("handfast.toml")).expect("it is ours");
    assert!(refusal(check().confine(&["--bind", &bind])).stderr.contains("/etc/handfast.toml:1:1: cannot read"));
}

#[test]
fn a_configuration_can_come_from_a_pipe() {
    // Where there is no privilege that it could misuse.
    let mut run = check().arg("--config").arg("/dev/stdin").stdin("[fetch]\ndeadline = \"5s\"\n");
    if is_root() {
        // A pipe of that user's own.
        let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
        run = run.through(&user).through(&["sh", "-c", "cat | \"$0\" \"$@\""]);
    }
    assert_eq!(plan(run)["deadline_ms"], 5000);
}

#[test]
fn what_is_no_text_is_refused_and_never_changed_into_something_else() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"/dev/shm/\xff");
    let relative = std::ffi::OsStr::from_bytes(b"\xff");
    for variable in ["HANDFAST_DIR", "HANDFAST_USER", "HANDFAST_DEADLINE", "HANDFAST_LOG_FORMAT", "HANDFAST_LOG_LEVEL"]
    {
        let outcome = refusal(Run::new().env(variable, bytes));
        let expected = format!("environment: the variable `{variable}` is not UTF-8 (config, exit 78)");
        assert!(outcome.stderr.contains(&expected), "{outcome:?}");
    }
    assert!(refusal(Run::new().arg("--dir").arg(bytes)).stderr.contains("command line: `--dir` is not UTF-8"));
    let reference = std::ffi::OsStr::from_bytes(b"handfast:mock:\xff");
    assert!(refusal(Run::new().env("A_FD", reference)).stderr.contains("the reference in `A_FD` is not UTF-8"));
    let in_file = "[secrets.a]\nfrom = \"mock:${NAME}\"\n";
    assert!(refusal(Run::new().config(in_file).env("NAME", bytes)).stderr.contains("`NAME` is not UTF-8"));
    let hint = "hint: give it a value that is text";
    assert!(refusal(Run::new().config(in_file).env("NAME", bytes)).stderr.contains(hint));
    for option in ["--secret", "--user", "--deadline", "--log-format", "--log-level"] {
        let outcome = refusal(Run::new().arg(option).arg(bytes));
        assert!(outcome.stderr.contains("command line: an option's value is not UTF-8"), "{outcome:?}");
    }
    // One mistake is one problem.
    for run in [Run::new().env("HANDFAST_DIR", relative), Run::new().arg("--dir").arg(relative)] {
        assert!(!refusal(run).stderr.contains("problems"));
    }
}

#[test]
fn the_log_settings_follow_the_same_order() {
    let info = "handfast: info: the variable `VAULT_TOKEN` is not handed on to the app\n";
    let run = || Run::new().env("VAULT_TOKEN", "token").env("A_FD", "handfast:mock:a");
    assert!(!run().start().stderr.contains("info"));
    assert!(run().env("HANDFAST_LOG_LEVEL", "info").start().stderr.contains(info));
    let quiet = run().env("HANDFAST_LOG_LEVEL", "info").args(["--log-level", "error"]).start();
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let json = run().env("HANDFAST_LOG_FORMAT", "json").start();
    assert!(json.stderr.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{json:?}");
    let text = run().env("HANDFAST_LOG_FORMAT", "json").args(["--log-format", "text"]).start();
    assert!(text.stderr.starts_with("handfast: warn: "), "{text:?}");
}

#[test]
fn another_user_than_root_may_have_any_configuration() {
    let directory = Directory::new();
    let file = directory.write("handfast.toml", "");
    directory.shell(None, "chmod 0666 handfast.toml");
    let mut run = Run::new().arg("--config").arg(&file);
    if is_root() {
        run = run.confine(&["--uid", "1000", "--gid", "1000", "--groups", "none"]);
    }
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}
