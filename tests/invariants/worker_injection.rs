//! A worker that somebody has taken over: its real cage, on this kernel, and with Landlock as older ones have it. The tool `inject` makes
//! it execute system calls of an attacker's; tests/kernels does the same on real older kernels, and tests/processes/worker_cage tries the cage alone.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Directory, Outcome, Run, needs_root, program};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// What a start comes to whose worker makes each attempt, and a line for each.
fn attacked(confine: &[&str], options: &[&str]) -> (Outcome, String) {
    attack(Run::new().arg("-s").arg("db=mock:db").confine(confine), options)
}

fn attack(run: Run, options: &[&str]) -> (Outcome, String) {
    let directory = Directory::new();
    let run = run.through(&inject(&directory, options));
    let outcome = run.timeout(Duration::from_secs(60)).start();
    let report = fs::read_to_string(directory.path().join("report"));
    let report = report.unwrap_or_else(|error| panic!("no report ({error}): {outcome:?}"));
    (outcome, report)
}

fn inject(directory: &Directory, options: &[&str]) -> Vec<String> {
    let text = |path: PathBuf| path.to_str().expect("made of ASCII").to_owned();
    let place = directory.path().join("place");
    fs::create_dir(&place).expect("it is new");
    let mut words = vec![text(program("inject")), "--out".into(), text(directory.path().join("report"))];
    words.extend(["--place".into(), text(place)]);
    words.extend(options.iter().map(|option| (*option).to_owned()));
    words.push("--".into());
    words
}

/// Everything is refused that must be, what must work does, and nothing has changed.
fn assert_held(outcome: &Outcome, report: &str, what: &str) {
    let bad = ["HOLE ", "BROKEN ", "CHANGED "];
    let wrong: Vec<&str> = report.lines().filter(|line| bad.iter().any(|word| line.starts_with(word))).collect();
    assert!(wrong.is_empty(), "{what}: {}\n{outcome:?}", wrong.join("\n"));
    let count = |word: &str| report.lines().filter(|line| line.starts_with(word)).count();
    assert!(count("held ") > 250 && count("works ") > 15 && count("same ") >= 4, "{what}: {report}");
}

/// The same, and the start has ended as if nothing had been.
fn assert_held_and_started((outcome, report): &(Outcome, String), what: &str) {
    assert_held(outcome, report, what);
    assert_eq!(outcome.code, 0, "{what}: {outcome:?}");
    assert_eq!(outcome.probe()["descriptors"][3]["content"], crate::support::hex(b"mock-db"), "{what}");
}

const ORDINARY: [&str; 6] = ["--uid", "1000", "--gid", "1000", "--groups", "none"];

#[test]
fn a_worker_that_is_taken_over_can_only_read_and_speak() {
    needs_root!();
    assert_held_and_started(&attacked(&[], &["--terminal"]), "as root");
    assert_held_and_started(
        &attacked(&ORDINARY, &["--terminal"]),
        "as an ordinary user, whose processes the others are",
    );
}

#[test]
fn the_filter_alone_holds_whatever_landlock_can_do() {
    needs_root!();
    for version in ["0", "1", "2", "3", "5"] {
        for (who, confine) in [("root", &[][..]), ("an ordinary user", &ORDINARY)] {
            let attacked = attacked(confine, &["--terminal", "--landlock", version]);
            assert_held_and_started(&attacked, &format!("Landlock {version}, as {who}"));
        }
    }
}

#[test]
fn a_plan_with_a_unix_socket_opens_nothing_else() {
    needs_root!();
    let config =
        "[providers.vault]\naddress = \"unix:///run/handfast-nobody\"\n[secrets.db]\nfrom = \"vault:kv/db#x\"\n";
    let run = Run::new().config(config).env("VAULT_TOKEN", "token").args(["--deadline", "1s"]);
    let (outcome, report) = attack(run, &["--unix"]);
    assert_held(&outcome, &report, "with a Unix socket");
    assert!(report.contains("told a_unix_socket ok"), "{report}");
    assert_eq!(outcome.code, 69, "{outcome:?}");
}

#[test]
fn a_worker_that_tells_metrics_listens_nowhere_else() {
    needs_root!();
    let config = format!("[watch]\nmetrics = \"127.0.0.1:{}\"\n", handfast_testservers::free_port());
    let run = Run::new().config(&config).args(["--supervise", "-s", "db=mock:db"]);
    assert_held_and_started(&attack(run, &[]), "with metrics");
}

#[test]
fn what_landlock_lacks_is_told_and_not_had_under_strict() {
    needs_root!();
    let kernels = handfast::sys::landlock::version();
    if !crate::support::require(kernels >= 6, "Landlock of Linux 6.12") {
        return;
    }
    for (version, complete) in [("0", false), ("1", false), ("2", false), ("3", false), ("5", false), ("6", true)] {
        let landlock: Vec<String> = [program("inject").to_str().expect("made of ASCII"), "--landlock", version, "--"]
            .map(ToOwned::to_owned)
            .into();
        let run = |command| Run::command(command).arg("-s").arg("db=mock:db").through(&landlock);
        let strict = "[app]\nstrict = true\n";

        let outcome = run("run").app([program("probe")]).start();
        assert_eq!(outcome.code, 0, "{version}: {outcome:?}");
        assert_eq!(outcome.stderr.contains("Landlock"), !complete, "{version}: {outcome:?}");
        let outcome = run("run").config(strict).app([program("probe")]).start();
        assert_eq!(outcome.code, if complete { 0 } else { 125 }, "{version}: {outcome:?}");
        assert_eq!(outcome.app_ran(), complete, "{version}");

        let outcome = run("check").start();
        let text = String::from_utf8_lossy(&outcome.stdout);
        assert_eq!((outcome.code, text.contains("Landlock")), (0, !complete), "{version}: {outcome:?}");
        let outcome = run("check").config(strict).start();
        assert_eq!(outcome.code, if complete { 0 } else { 125 }, "{version}: {outcome:?}");
    }
}

#[test]
fn the_apps_stderr_stays_as_it_was() {
    needs_root!();
    let directory = Directory::new();
    let path = directory.path().join("stderr");
    fs::write(&path, "what was there before\n").expect("it is ours");
    let mut stderr = File::options().read(true).append(true).open(&path).expect("it is there");
    let words = inject(&directory, &[]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(program("handfast")).args(["run", "-s", "db=mock:db", "--"]).arg(program("probe"));
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.stderr(stderr.try_clone().expect("there is room for one more")).status().expect("it starts");
    assert!(status.success(), "{status}");
    let mut text = String::new();
    stderr.rewind().expect("it is a file");
    stderr.read_to_string(&mut text).expect("it is text");
    assert!(text.starts_with("what was there before\n"), "{text}");
    let flags = OFlag::from_bits_retain(fcntl(&stderr, FcntlArg::F_GETFL).expect("it is open"));
    assert!(!flags.contains(OFlag::O_NONBLOCK), "{flags:?}");
}
