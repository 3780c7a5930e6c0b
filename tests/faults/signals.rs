//! Signals while handfast still works, to itself and to its worker, and those that it must leave alone.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Directory, Outcome, Run, Running, needs_program, needs_root, program};
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

/// Sends any signal: nix names no real-time signal.
fn send(pid: i32, signal: i32) {
    let status = Command::new("/bin/sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
    assert!(status.expect("there is a shell").success());
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
    for (signal, name) in [
        (15, "SIGTERM"),
        (2, "SIGINT"),
        (1, "SIGHUP"),
        (3, "SIGQUIT"),
        (10, "SIGUSR1"),
        (12, "SIGUSR2"),
        (34, "SIGRTMIN"),
        (37, "SIGRTMIN+3"),
        (64, "SIGRTMIN+30"),
    ] {
        let code = 128 + signal;
        let directory = Directory::in_memory();
        // On a machine that is busy with something else, one attempt may be late.
        let late = (0..4).take_while(|_| {
            let (running, worker) = in_the_fetch(hanging(&directory));
            let sent = Instant::now();
            send(running.pid(), signal);
            let outcome = running.finish();
            let elapsed = sent.elapsed();
            outcome.refused(code, &format!("ended by {name} before the start was complete (signal, exit {code})"));
            nothing_is_left(&directory, worker);
            elapsed > Duration::from_millis(200)
        });
        assert!(late.count() < 4, "{name} takes too long");
    }
}

#[test]
fn a_signal_reaches_handfast_as_pid_1_too() {
    needs_root!();
    needs_program!("unshare");
    // The last four are what images say in STOPSIGNAL: httpd, php-fpm's, HAProxy, systemd.
    for signal in [15, 2, 28, 3, 10, 37] {
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
        send(init, signal);
        let outcome = running.finish();
        outcome.refused(128 + signal, " before the ");
        nothing_is_left(&directory, worker);
    }
}

#[test]
fn the_size_of_a_terminal_ends_no_start() {
    needs_program!("script");
    let toml = "[providers.slow]\ntype = \"mock\"\nlatency = \"400ms\"\n[secrets.a]\nfrom = \"slow:a\"\n";
    // Without a terminal only PID 1 minds it: for others its default action is to do nothing.
    let (running, _) = in_the_fetch(Run::new().config(toml));
    send(running.pid(), 28);
    running.finish().ran();
    needs_root!();
    needs_program!("unshare");
    let directory = Directory::new();
    let config = directory.write("handfast.toml", toml.replace("400ms", "1s"));
    // The shell is replaced by unshare, whose only child is handfast.
    let script = format!(
        "(sleep 0.5; kill -28 $(cat /proc/$$/task/$$/children)) & \
         exec unshare --pid --fork --kill-child --mount-proc {} run -c {} -- /bin/echo started",
        program("handfast").display(),
        config.display()
    );
    let outcome = Run::direct().app(["script", "-qec", &script, "/dev/null"]).start();
    assert!(String::from_utf8_lossy(&outcome.stdout).contains("started"), "{outcome:?}");
}

#[test]
fn an_ignored_or_blocked_signal_stays_so() {
    let toml = "[providers.slow]\ntype = \"mock\"\nlatency = \"400ms\"\n[secrets.a]\nfrom = \"slow:a\"\n";
    for option in ["--ignore", "--block"] {
        let (running, _) = in_the_fetch(Run::new().config(toml).confine(&[option, "TERM,HUP,INT,QUIT,USR1,USR2,37"]));
        for signal in [15, 1, 2, 3, 10, 12, 37] {
            send(running.pid(), signal);
        }
        let app = running.finish().ran();
        let state = if option == "--ignore" { "SigIgn" } else { "SigBlk" };
        assert_eq!(app["status"][state], "0000001000004a07", "{option}");
        // Blocked ones wait for the app, as they would have without handfast.
        let pending = if option == "--ignore" { "0000000000000000" } else { "0000001000004a07" };
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
