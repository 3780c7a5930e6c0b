//! Signals while handfast still works, to itself and to its worker, and those that it must leave alone.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Directory, Outcome, Run, Running, needs_program, needs_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A start that hangs in the fetch, with a file, a descriptor, and a directory that can be looked at.
fn hanging(directory: &Directory) -> Run {
    let toml = "[providers.slow]\ntype = \"mock\"\nlatency = \"1h\"\n[secrets.a]\nfrom = \"slow:a\"\n\
                [secrets.b]\nfrom = \"slow:b\"\nfd = 7\n";
    Run::new().config(toml).args(["--dir", directory.text()])
}

fn parent_of(pid: i32) -> Option<i32> {
    let statistics = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    statistics.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn child_of(parent: i32) -> Option<i32> {
    let pids = fs::read_dir("/proc").expect("procfs is there").flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| parent_of(*pid) == Some(parent))
}

fn exists(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

/// The worker of a handfast, once it is in the fetch: its sandbox stands. An ordinary user can see no more of either.
fn worker_of(handfast: i32) -> i32 {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        let locked = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains("Seccomp:\t2")
        };
        if let Some(worker) = child_of(handfast).filter(locked) {
            return worker;
        }
        sleep(Duration::from_millis(1));
    }
    panic!("no worker")
}

fn in_the_fetch(run: Run) -> (Running, i32) {
    let running = run.spawn();
    let worker = worker_of(running.pid());
    (running, worker)
}

#[track_caller]
fn nothing_is_left(directory: &Directory, worker: i32) {
    assert!(directory.names().is_empty(), "{:?}", directory.names());
    assert!(!exists(worker), "the worker lives on");
}

#[test]
fn a_signal_during_the_fetch_ends_the_start_at_once() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGHUP, 129), (Signal::SIGQUIT, 131)]
    {
        let directory = Directory::in_memory();
        // On a machine that is busy with something else, one attempt may be late.
        let late = (0..4).take_while(|_| {
            let (running, worker) = in_the_fetch(hanging(&directory));
            let sent = Instant::now();
            running.signal(signal);
            let outcome = running.finish();
            let elapsed = sent.elapsed();
            outcome.refused(code, &format!("ended by {signal} before the app was started (signal, exit {code})"));
            nothing_is_left(&directory, worker);
            elapsed > Duration::from_millis(200)
        });
        assert!(late.count() < 4, "{signal} takes too long");
    }
}

#[test]
fn a_signal_reaches_handfast_as_pid_1_too() {
    needs_root!();
    needs_program!("unshare");
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let directory = Directory::in_memory();
        let run = hanging(&directory).through(&["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        let running = run.spawn();
        let began = Instant::now();
        let is_handfast = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "handfast\n");
        let init = loop {
            if let Some(child) = child_of(running.pid()).filter(is_handfast) {
                break child;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "handfast does not start");
            sleep(Duration::from_millis(1));
        };
        let worker = worker_of(init);
        kill(Pid::from_raw(init), signal).expect("it is there");
        let outcome = running.finish();
        outcome.refused(code, "before the app was started");
        nothing_is_left(&directory, worker);
    }
}

#[test]
fn an_ignored_or_blocked_signal_stays_so() {
    let toml = "[providers.slow]\ntype = \"mock\"\nlatency = \"400ms\"\n[secrets.a]\nfrom = \"slow:a\"\n";
    for option in ["--ignore", "--block"] {
        let (running, _) = in_the_fetch(Run::new().config(toml).confine(&[option, "TERM,HUP,INT,QUIT"]));
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            running.signal(signal);
        }
        let app = running.finish().ran();
        let state = if option == "--ignore" { "SigIgn" } else { "SigBlk" };
        assert_eq!(app["status"][state], "0000000000004007", "{option}");
        // Blocked ones wait for the app, as they would have without handfast.
        let pending = if option == "--ignore" { "0000000000000000" } else { "0000000000004007" };
        assert_eq!(app["status"]["ShdPnd"], pending, "{option}");
    }
}

#[test]
fn the_app_finds_its_signals_as_in_a_direct_start() {
    for options in [
        ["--ignore", "PIPE,CHLD,HUP", "--block", "USR1"],
        ["--ignore", "CHLD,XFSZ,36", "--block", "TERM,XFSZ,40"],
        ["--ignore", "TTOU", "--block", "CHLD,PIPE"],
    ] {
        let state = |outcome: Outcome| {
            let app = outcome.ran();
            ["SigIgn", "SigBlk", "SigCgt", "SigPnd", "ShdPnd", "umask", "nice", "cwd"]
                .map(|name| app["status"][name].clone())
        };
        let through = state(Run::new().args(["--secret", "db=mock:db"]).confine(&options).start());
        assert_eq!(through, state(Run::direct().confine(&options).start()), "{options:?}");
        assert_ne!(through[0], "0000000000000000");
    }
}

#[test]
fn a_killed_worker_is_70() {
    let directory = Directory::in_memory();
    let (running, worker) = in_the_fetch(hanging(&directory));
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it is there");
    running.finish().refused(70, "the worker was killed by SIGKILL (internal, exit 70)");
    nothing_is_left(&directory, worker);
}

#[test]
fn a_stopped_worker_is_given_up_at_the_deadline() {
    let directory = Directory::in_memory();
    let (running, worker) = in_the_fetch(hanging(&directory).args(["--deadline", "1s"]));
    kill(Pid::from_raw(worker), Signal::SIGSTOP).expect("it is there");
    let outcome = running.finish();
    outcome.refused(69, "the worker did not answer until the deadline (unavailable, exit 69)");
    assert!((Duration::from_millis(900)..Duration::from_secs(2)).contains(&outcome.elapsed), "{outcome:?}");
    nothing_is_left(&directory, worker);
}

#[test]
fn the_worker_does_not_outlive_a_killed_handfast() {
    let directory = Directory::in_memory();
    let (running, worker) = in_the_fetch(hanging(&directory));
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish().code, 137);
    let began = Instant::now();
    while exists(worker) {
        assert!(began.elapsed() < Duration::from_secs(5), "the worker lives on");
        sleep(Duration::from_millis(1));
    }
    assert!(directory.names().is_empty());
}

#[test]
fn a_stopped_handfast_goes_on_when_it_is_continued() {
    let toml = "[providers.slow]\ntype = \"mock\"\nlatency = \"300ms\"\n[secrets.a]\nfrom = \"slow:a\"\n";
    let (running, _) = in_the_fetch(Run::new().config(toml));
    running.signal(Signal::SIGSTOP);
    sleep(Duration::from_millis(500));
    running.signal(Signal::SIGCONT);
    running.finish().ran();
}
