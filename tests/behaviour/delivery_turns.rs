//! One start at a time writes into a files directory: the others wait for their turn.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Directory, Run, needs_program, needs_root};
use nix::sys::signal::Signal;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Delivers four files, all with this value; `command` as the app.
fn run(directory: &Directory, value: &str, command: &str) -> Run {
    let values: Vec<String> = NAMES.iter().map(|name| format!("{name} = \"{value}\"")).collect();
    let secrets: String = NAMES.iter().map(|name| format!("[secrets.{name}]\nfrom = \"mock:{name}\"\n")).collect();
    let toml = format!("[providers.mock]\nvalues = {{ {} }}\n{secrets}", values.join(", "));
    let run = Run::new().config(&toml).args(["--dir", directory.text(), "--user", "1000:1000", "--log-level", "error"]);
    run.app(["/bin/sh", "-c", command]).timeout(Duration::from_secs(60))
}

#[test]
fn of_many_starts_at_once_each_app_has_its_files() {
    needs_root!();
    let directory = Directory::in_memory();
    let command = format!("cd {} && for name in a b c d; do cat $name; echo; done", directory.text());
    for round in 0..10 {
        let starts: Vec<_> =
            (0..20).map(|nth| run(&directory, &format!("value-{round}-{nth}"), &command).spawn()).collect();
        for start in starts {
            let outcome = start.finish();
            assert_eq!(outcome.code, 0, "{outcome:?}");
            let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
            // Of its own set, or of one that came later.
            let whole = text.lines().filter(|line| line.starts_with(&format!("value-{round}-"))).count();
            assert_eq!((whole, text.lines().count()), (NAMES.len(), NAMES.len()), "{outcome:?}");
        }
        // One set is left, and nothing of the others.
        let generations = directory.names().iter().filter(|name| name.starts_with("..handfast_")).count();
        assert_eq!((generations, directory.names().len()), (1, NAMES.len() + 3), "{:?}", directory.names());
        assert_eq!(fs::read_dir(directory.path().join("..handfast")).expect("it is there").count(), 1);
    }
}

#[test]
fn first_starts_at_once_that_fail_take_nobody_elses_turn() {
    needs_root!();
    let directory = Directory::tmpfs("mode=1777,size=64k");
    let (small, large) = ("x".to_owned(), "x".repeat(20_000));
    for _ in 0..5 {
        let starts: Vec<_> = (0..12)
            .map(|nth| {
                (
                    nth % 3 == 0,
                    run(&directory, if nth % 3 == 0 { &small } else { &large }, "cat $CREDENTIALS_DIRECTORY/a").spawn(),
                )
            })
            .collect();
        for (fits, start) in starts {
            let outcome = start.finish();
            assert_eq!(outcome.code, if fits { 0 } else { 73 }, "{outcome:?}");
            assert_eq!(outcome.stdout == b"x", fits, "{outcome:?}");
        }
        fs::read_dir(directory.path()).expect("it is there").flatten().for_each(|entry| {
            let path = entry.path();
            let removed = if path.is_symlink() { fs::remove_file(&path) } else { fs::remove_dir_all(&path) };
            removed.expect("it is ours");
        });
    }
}

#[test]
fn a_start_waits_for_its_turn_until_its_deadline() {
    needs_root!();
    let directory = Directory::in_memory();
    let holder = directory.taken();
    let outcome = run(&directory, "x", "echo ran").args(["--deadline", "1s"]).start();
    outcome.refused(73, "another start writes there, and did not end in time");
    outcome.says("hint: give each set of secrets a directory of its own");
    // The harness begins to count a little later than handfast.
    let waited = Duration::from_millis(900)..Duration::from_secs(3);
    assert!(waited.contains(&outcome.elapsed), "{outcome:?}");
    assert_eq!(directory.names(), ["..handfast"]);
    // A signal ends the wait at once.
    let waiting = run(&directory, "x", "echo ran").spawn();
    std::thread::sleep(Duration::from_millis(500));
    waiting.signal(Signal::SIGTERM);
    let (sent, outcome) = (Instant::now(), waiting.finish());
    assert_eq!((outcome.code, outcome.app_ran()), (143, false), "{outcome:?}");
    assert!(sent.elapsed() < Duration::from_millis(500), "{:?}", sent.elapsed());
    // And the end of the one before lets the next one in.
    let waiting = run(&directory, "x", "echo ran").spawn();
    std::thread::sleep(Duration::from_millis(300));
    drop(holder);
    let outcome = waiting.finish();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, &b"ran\n"[..]), "{outcome:?}");
}

#[test]
fn an_app_that_runs_keeps_no_other_start_waiting() {
    needs_root!();
    let directory = Directory::in_memory();
    let mut running = run(&directory, "x", "exec sleep 20").spawn();
    running.wait_for("sleep");
    let outcome = run(&directory, "y", "cat $CREDENTIALS_DIRECTORY/a").args(["--deadline", "5s"]).start();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, &b"y"[..]), "{outcome:?}");
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish().code, 137);
}

#[test]
fn first_starts_at_once_make_a_missing_directory_together() {
    needs_root!();
    let strace = needs_program!("strace");
    let volume = Directory::in_memory();
    let init = || {
        let path = volume.path().join("new");
        Run::command("init").args(["-s", "a=mock:a", "--user", "1000:1000", "--dir", path.to_str().expect("text")])
    };
    // The first one sleeps between making the directory and looking at it.
    let delay = "inject=mkdirat:delay_exit=1000000:when=1";
    let words = [strace.to_str().expect("text"), "-f", "-o", "/dev/null", "-e", "trace=mkdirat", "-e", delay];
    let first = init().through(&words).spawn();
    std::thread::sleep(Duration::from_millis(500));
    let second = init().start();
    assert_eq!(second.code, 0, "{second:?}");
    let first = first.finish();
    assert_eq!(first.code, 0, "{first:?}");
}
