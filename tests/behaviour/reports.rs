//! What is printed around a message: colour, the termination log, escapes, and the last line as JSON.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Directory, Outcome, PATH, Run, needs_program, needs_root, program};
use serde_json::Value;

const RED: &str = "\u{1b}[31merror\u{1b}[0m";
const YELLOW: &str = "\u{1b}[33mwarn\u{1b}[0m";

/// What a terminal shows of a start that warns and then fails.
fn on_a_terminal(script: &std::path::Path, variables: &[(&str, &str)], more: &str) -> String {
    let command = format!("{} run -s a=mock:a#b {more} -- /bin/true", program("handfast").display());
    let mut terminal = Command::new(script);
    terminal.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env_clear().env("PATH", PATH);
    let output = terminal.envs(variables.iter().copied()).output().expect("it is there");
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
}

#[test]
fn only_a_terminal_gets_colour_and_none_that_asks_for_none() {
    let script = needs_program!("script");
    for variables in [&[][..], &[("NO_COLOR", "")]] {
        let shown = on_a_terminal(&script, variables, "");
        assert!(shown.contains(&format!("handfast: {YELLOW}: the provider `mock`")), "{shown:?}");
        assert!(shown.contains(&format!("handfast: {RED}: cannot fetch `a`")), "{shown:?}");
        assert!(shown.ends_with(" (malformed, exit 65)\n"), "{shown:?}");
    }
    assert!(!on_a_terminal(&script, &[("NO_COLOR", "1")], "").contains('\u{1b}'));
    assert!(!on_a_terminal(&script, &[], "--log-format json").contains('\u{1b}'));
    assert!(!Run::new().args(["-s", "a=mock:a#b"]).start().stderr.contains('\u{1b}'));
}

/// A /dev of its own, with or without a termination log. Apps open their descriptors by the link in it.
struct Devices(Directory);

impl Devices {
    fn new() -> Self {
        let devices = Directory::new();
        std::os::unix::fs::symlink("/proc/self/fd", devices.path().join("fd")).expect("it is ours");
        Self(devices)
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("termination-log")
    }

    fn start(&self, run: Run) -> Outcome {
        run.confine(&["--bind", &format!("{}:/dev", self.0.text())]).start()
    }
}

#[test]
fn the_last_line_also_goes_to_the_termination_log() {
    needs_root!();
    let devices = Devices::new();
    for (run, code) in [
        (Run::new().args(["-s", "a=mok:a"]), 78),
        (Run::new().arg("--bogus"), 64),
        (Run::new().args(["-s", "a=mock:a#b", "--log-format", "json"]), 65),
        (Run::new().app(["/no/such/command"]), 127),
        (Run::command("init").args(["--dir", "/proc/x", "-s", "a=mock:a"]), 73),
    ] {
        // Longer than any line, so that a rest of it would be seen.
        fs::write(devices.log(), "x".repeat(10_000)).expect("it is ours");
        let outcome = devices.start(run);
        assert_eq!(outcome.code, code, "{outcome:?}");
        let last = outcome.stderr.lines().last().expect("a line");
        assert_eq!(fs::read_to_string(devices.log()).expect("it is there"), format!("{last}\n"));
    }
    // A start that succeeds has nothing to say there.
    fs::write(devices.log(), "as before").expect("it is ours");
    assert_eq!(devices.start(Run::new().args(["-s", "a=mock:a"]).app(["/bin/true"])).code, 0);
    // Nor has a probe that fails: its container goes on.
    assert_eq!(devices.start(Run::command("ready").args(["--dir", "/no/such/directory"])).code, 69);
    assert_eq!(fs::read_to_string(devices.log()).expect("it is there"), "as before");
}

#[test]
fn the_last_line_of_a_process_that_may_open_nothing_any_more_goes_there_too() {
    needs_root!();
    let (devices, source, directory) = (Devices::new(), Directory::new(), Directory::tmpfs("mode=0755"));
    let file = source.write("a", "value");
    let config = format!(
        "[app]\nuser = \"0:0\"\nallow_root = true\n[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\nsplay = \"0s\"\n\
         max_stale = \"1s\"\non_stale = \"exit\"\n[files]\ndir = \"{}\"\n[secrets.a]\nfrom = \"file:{}\"\n",
        directory.text(),
        file.display()
    );
    let changes = "[providers.fast]\ntype = \"mock\"\nrotate_every = \"1s\"\n[secrets.b]\nfrom = \"fast:b\"\non_change = \"restart\"\n";
    let app = ["/bin/sh", "-c", &format!("rm {}; exec sleep 100", file.display())];
    for (run, code) in [
        (Run::command("watch").config(&config).config(changes), 79),
        (Run::new().config(&config).arg("--supervise").app(app), 69),
    ] {
        fs::write(devices.log(), "x".repeat(10_000)).expect("it is ours");
        let outcome = devices.start(run);
        assert_eq!(outcome.code, code, "{outcome:?}");
        let last = outcome.stderr.lines().last().expect("a line");
        assert_eq!(fs::read_to_string(devices.log()).expect("it is there"), format!("{last}\n"));
    }
}

#[test]
fn a_termination_log_is_never_made_followed_or_waited_for() {
    needs_root!();
    let run = || Run::new().arg("--bogus");
    let devices = Devices::new();
    assert_eq!(devices.start(run()).code, 64);
    assert_eq!(devices.0.names(), ["fd"]);
    let other = devices.0.write("other", "as before");
    symlink(&other, devices.log()).expect("it is ours");
    assert_eq!(devices.start(run()).code, 64);
    assert_eq!(fs::read_to_string(&other).expect("it is there"), "as before");
    fs::remove_file(devices.log()).expect("it is ours");
    nix::unistd::mkfifo(&devices.log(), nix::sys::stat::Mode::S_IRWXU).expect("it is ours");
    assert_eq!(devices.start(run()).code, 64);
    fs::remove_file(devices.log()).expect("it is ours");
    fs::create_dir(devices.log()).expect("it is ours");
    assert_eq!(devices.start(run()).code, 64);
}

#[test]
fn a_long_line_is_cut_in_the_termination_log_and_stays_what_it_is() {
    needs_root!();
    let devices = Devices::new();
    let long = format!("a=mock:{}#b", "ä\"".repeat(5000));
    for format in ["text", "json"] {
        fs::write(devices.log(), "").expect("it is ours");
        let outcome = devices.start(Run::new().args(["-s", &long, "--log-format", format]));
        assert_eq!(outcome.code, 65, "{outcome:?}");
        let written = fs::read_to_string(devices.log()).expect("it is UTF-8");
        assert!((1000..=4096).contains(&written.len()) && written.ends_with('\n'), "{}", written.len());
        if format == "json" {
            let line: Value = serde_json::from_str(&written).expect("still JSON");
            assert_eq!((&line["exit"], &line["class"]), (&65.into(), &"malformed".into()));
        } else {
            assert!(written.ends_with(" (malformed, exit 65)\n"), "{written}");
        }
    }
}

#[test]
fn nothing_that_was_written_can_forge_a_line_or_drive_a_terminal() {
    let directory = Directory::new();
    let odd = directory.path().join("a\n\u{1b}[2Jhandfast: info: forged\u{202e}");
    let outcome = Run::new().arg("--config").arg(&odd).start();
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 2, "{outcome:?}");
    assert!(outcome.stderr.contains("/a\\n\\u{1b}[2Jhandfast: info: forged\\u{202e}:1:1: cannot read"), "{outcome:?}");
    let json = Run::new().arg("--config").arg(&odd).args(["--log-format", "json"]).start();
    assert_eq!(json.stderr.lines().count(), 1, "{json:?}");
    assert!(!json.stderr.contains('\u{1b}'));
    let command = Run::new().app(["/no/such\n\u{7}command"]).start();
    assert!(command.stderr.contains("such\\n\\u{7}command") && !command.stderr.contains('\u{7}'), "{command:?}");
}

/// A control of C1, overrides and marks of direction, separators, a soft hyphen, a mark of byte order and a tag.
const UNSEEN: [char; 11] = [
    '\u{85}',
    '\u{9b}',
    '\u{202e}',
    '\u{2066}',
    '\u{200f}',
    '\u{61c}',
    '\u{2028}',
    '\u{2029}',
    '\u{ad}',
    '\u{feff}',
    '\u{e0041}',
];

#[test]
fn what_is_not_seen_is_escaped_in_text_and_json_and_stays_the_same_value() {
    let odd: String = UNSEEN.iter().collect();
    // As it is told: controls are no part of a reference, so there only the others are.
    let reference = format!("mock:a{}b", &odd[odd.find('\u{202e}').expect("it is in it")..]);
    let missing = Directory::new().path().join(format!("a{odd}é"));
    let config = "[providers.mock]\nvalues = { x = \"y\" }\n";
    let directory = Directory::new();
    let file = directory.write("config.toml", config);
    let secret = format!("s={reference}");
    let words: [(&str, &[&std::ffi::OsStr]); 3] = [
        ("run", &["--config".as_ref(), missing.as_os_str()]),
        ("run", &["--config".as_ref(), file.as_os_str(), "-s".as_ref(), secret.as_ref()]),
        ("check", &["-s".as_ref(), secret.as_ref()]),
    ];
    let devices = Devices::new();
    fs::write(devices.log(), "").expect("it is ours");
    for (command, words) in words {
        for format in ["text", "json"] {
            let mut run = if command == "run" { Run::new() } else { Run::command(command).args(["--format", format]) };
            run = run.args(["--log-format", format, "--log-level", "info"]);
            run = words.iter().fold(run, |run, word| run.arg(word));
            let outcome = if crate::support::is_root() { devices.start(run) } else { run.start() };
            let log = fs::read_to_string(devices.log()).expect("it is UTF-8");
            for told in [&outcome.stderr, &String::from_utf8(outcome.stdout.clone()).expect("it is UTF-8"), &log] {
                assert!(!told.contains(UNSEEN), "{told:?}");
                let lines = told.lines().filter(|_| format == "json" && command == "run");
                lines.for_each(|line| drop(serde_json::from_str::<Value>(line).expect("JSON")));
            }
            let all = format!("{}{}", outcome.stderr, String::from_utf8_lossy(&outcome.stdout));
            let escape = if format == "json" { "\\u202e\\u2066" } else { "\\u{202e}\\u{2066}" };
            assert!(all.contains(escape), "{command}: {all}");
            if format == "json" && command == "check" {
                let report: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
                assert_eq!(report["secrets"][0]["from"], reference);
            }
        }
    }
    let json = Run::new().arg("--config").arg(&missing).args(["--log-format", "json"]).start();
    let line: Value = serde_json::from_str(json.stderr.lines().last().expect("a line")).expect("JSON");
    assert!(line["message"].as_str().is_some_and(|text| text.contains(&odd)), "{line}");
}

#[test]
fn the_last_line_as_json_has_the_contracts_fields_in_its_order() {
    let config = "[providers.store]\ntype = \"mock\"\nvalues = { db = '{\"password\":\"hunter2\"}' }\n";
    let run = || Run::new().config(config).args(["--log-format", "json"]);
    let whole = run().args(["-s", "a=store:db#passwort"]).start();
    let last = whole.stderr.lines().last().expect("a line");
    let fields: Vec<&str> =
        last.split("\",\"").flat_map(|part| part.split(",\"")).filter_map(|part| part.split("\":").next()).collect();
    let expected =
        ["{\"level", "exit", "class", "phase", "provider", "reference", "attempts", "elapsed_ms", "message", "hint"];
    assert_eq!(fields, expected, "{last}");
    let line: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!((&line["provider"], &line["reference"]), (&"store".into(), &"store:db#passwort".into()));
    assert_eq!(
        (&line["phase"], &line["attempts"], &line["hint"]),
        (&"fetch".into(), &1.into(), &"did you mean `#password`? it has `password`".into())
    );
    assert!(line["elapsed_ms"].as_u64().is_some_and(|elapsed| elapsed < 20_000));
    // The sum names the secret that gave the exit code.
    let sum = run().args(["-s", "a=store:x", "-s", "b=store:y"]).start();
    let lines: Vec<Value> = sum.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [first, second, last] = &lines[lines.len() - 3..] else { panic!("{sum:?}") };
    assert_eq!(
        (&first["reference"], &second["reference"], &last["reference"]),
        (&"store:x".into(), &"store:y".into(), &"store:x".into())
    );
    assert_eq!(
        (&first["class"], &last["class"], &last["exit"]),
        (&"not-found".into(), &"not-found".into(), &66.into())
    );
}

#[test]
fn a_stderr_that_is_closed_or_full_changes_nothing() {
    for confine in [&["--close", "2"][..], &["--close", "0,1,2"]] {
        let outcome = Run::new().confine(confine).args(["-s", "a=mok:a"]).start();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (78, ""), "{outcome:?}");
    }
    let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let status = Command::new(program("handfast")).arg("--bogus").stderr(full).status().expect("it can be started");
    assert_eq!(status.code(), Some(64));
}
