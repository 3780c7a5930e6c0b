//! Invariants 2, 3 and 5 for as long as `watch` lives.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::hostile_worker::socket_of;
use crate::support::{Directory, Run, Running, canary, hits, needs_root, scan};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CONFIG: &str = "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[providers.mock]\nrotate_every = \"1s\"\n\
    [secrets.db]\nfrom = \"mock:canary-of-the-keeper\"\n";

fn watch(directory: &Directory) -> Running {
    let keeper = Run::command("watch").config(CONFIG).args(["--dir", directory.text()]).spawn();
    let ready = Run::command("ready").args(["--dir", directory.text(), "--wait", "10s"]).start();
    assert_eq!(ready.code, 0, "{ready:?}");
    keeper
}

/// With its worker stopped, and the worker's socket in our hands.
fn taken_over(directory: &Directory) -> (Running, std::os::unix::net::UnixStream) {
    let mut keeper = watch(directory);
    let worker = keeper.worker();
    kill(Pid::from_raw(worker), Signal::SIGSTOP).expect("it is there");
    (keeper, socket_of(worker))
}

#[test]
fn a_keepers_worker_that_lies_changes_nothing() {
    needs_root!();
    let header = |kind: u8, generation: u32, secret: u32, length: u32| {
        let numbers = [generation, secret, length].map(u32::to_be_bytes).concat();
        [&[kind, 0, 0, 0][..], &numbers].concat()
    };
    for lie in [
        header(99, 2, 0, 0),
        // A generation that is far ahead, a secret that is not there, a value that is too large, a failure that is none, an identity after
        // the start.
        header(5, 4_000_000_000, 0, 0),
        header(2, 2, 7, 3),
        header(2, 2, 0, u32::MAX),
        [&header(4, 2, 0, 9)[..], &[0xff; 9]].concat(),
        header(10, 2, 0, 1),
    ] {
        let directory = Directory::in_memory();
        let (keeper, mut socket) = taken_over(&directory);
        let before = fs::read(directory.path().join("db")).expect("root may");
        // What the worker had to say before comes first; it cannot have been more than whole frames.
        socket.write_all(&lie).expect("the keeper listens");
        let outcome = keeper.finish();
        outcome.refused(70, "the worker sent ");
        assert_eq!(fs::read(directory.path().join("db")).expect("root may"), before, "{outcome:?}");
    }
}

#[test]
fn a_keeper_waits_for_no_worker_that_stops_in_the_middle() {
    needs_root!();
    let directory = Directory::in_memory();
    let (keeper, mut socket) = taken_over(&directory);
    socket.write_all(&[2, 0, 0, 0, 0]).expect("the keeper listens");
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert!(outcome.code == 0 && start.elapsed() < Duration::from_millis(2500), "{outcome:?}");
}

#[test]
fn neither_process_holds_a_value_of_an_older_set() {
    needs_root!();
    let directory = Directory::in_memory();
    let mut keeper = watch(&directory);
    let (privileged, worker) = (keeper.pid(), keeper.worker());
    let value = || fs::read_to_string(directory.path().join("db")).expect("root may");
    let first = value();
    let start = Instant::now();
    let number = |text: &str| text.rsplit('-').next().and_then(|number| number.parse::<u32>().ok()).expect("a number");
    while number(&value()) < number(&first) + 4 {
        assert!(start.elapsed() < Duration::from_secs(15), "it does not change: {}", value());
        std::thread::sleep(Duration::from_millis(20));
    }
    // The last two may be on their way.
    let old: Vec<String> = (0..3).map(|at| format!("mock-canary-of-the-keeper-{}", number(&first) + at)).collect();
    let needles: Vec<&str> = old[..2].iter().map(String::as_str).collect();
    for pid in [privileged, worker] {
        assert_eq!(hits(&scan(pid, &needles)), Vec::<String>::new(), "process {pid}");
    }
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

/// It has read them for their digests, before it forked its worker.
#[test]
fn neither_process_holds_a_value_of_the_keeper_before() {
    needs_root!();
    let (source, directory, value) = (Directory::in_memory(), Directory::in_memory(), canary());
    let file = source.write("db", &value);
    let start = |provider: &str| {
        let config = format!("[providers.kv]\n{provider}\n[secrets.db]\nfrom = \"kv:{}\"\n", file.display());
        let keeper = Run::command("watch").config(&config).args(["--dir", directory.text()]).spawn();
        let ready = Run::command("ready").args(["--dir", directory.text(), "--wait", "30s"]).start();
        assert_eq!(ready.code, 0, "{ready:?}");
        keeper
    };
    let before = start("type = \"file\"");
    before.signal(Signal::SIGKILL);
    before.finish();
    let mut keeper = start("type = \"mock\"\nfail = \"unavailable\"");
    for pid in [keeper.pid(), keeper.worker()] {
        assert_eq!(hits(&scan(pid, &[&value])), Vec::<String>::new(), "process {pid}");
    }
    assert_eq!(fs::read_to_string(directory.path().join("db")).expect("root may"), value);
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says("the files of the keeper before stay");
}

/// So the searches of these tests look where values are.
#[test]
fn the_search_finds_a_value_that_waits_in_the_worker() {
    needs_root!();
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    source.write("db", "before");
    let config =
        format!("[watch]\nrefresh = \"300d\"\nquiet = \"1h\"\n[secrets.db]\nfrom = \"file:{}/db\"\n", source.text());
    let mut keeper = Run::command("watch").config(&config).args(["--dir", directory.text()]).spawn();
    let ready = Run::command("ready").args(["--dir", directory.text(), "--wait", "10s"]).start();
    assert_eq!(ready.code, 0, "{ready:?}");
    let (worker, next) = (keeper.worker(), canary());
    source.write("new", &next);
    fs::rename(source.path().join("new"), source.path().join("db")).expect("it is ours");
    let start = Instant::now();
    while hits(&scan(worker, &[&next])).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(15), "it is not found");
        std::thread::sleep(Duration::from_millis(20));
    }
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn a_hundred_changes_later_no_value_of_before_is_anywhere() {
    needs_root!();
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let old = canary();
    let rotate = |value: &str| {
        source.write("new", value);
        fs::rename(source.path().join("new"), source.path().join("db")).expect("it is ours");
    };
    rotate(&format!("{old} 0"));
    let config =
        format!("[watch]\nrefresh = \"300d\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}/db\"\n", source.text());
    let keeper = Run::command("watch").config(&config).args(["--dir", directory.text(), "--log-level", "debug"]);
    let mut keeper = keeper.timeout(Duration::from_secs(120)).spawn();
    let ready = Run::command("ready").args(["--dir", directory.text(), "--wait", "10s"]).start();
    assert_eq!(ready.code, 0, "{ready:?}");
    let (privileged, worker) = (keeper.pid(), keeper.worker());
    let published = |value: &str| {
        let start = Instant::now();
        while fs::read_to_string(directory.path().join("db")).expect("root may") != value {
            assert!(start.elapsed() < Duration::from_secs(20), "it does not change");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    for change in 1..=100 {
        let value = format!("{old} {change}");
        rotate(&value);
        published(&value);
    }
    let last = canary();
    rotate(&last);
    published(&last);
    // The worker learns by a byte that the last one was delivered; HUP comes after that byte.
    let status = || fs::read_to_string(directory.path().join("..handfast/status.json")).expect("everybody may");
    let before = status();
    keeper.signal(Signal::SIGHUP);
    let start = Instant::now();
    while status() == before {
        assert!(start.elapsed() < Duration::from_secs(20), "it is not read again");
        std::thread::sleep(Duration::from_millis(20));
    }
    for pid in [privileged, worker] {
        assert_eq!(hits(&scan(pid, &[&old])), Vec::<String>::new(), "process {pid}");
    }
    assert!(!status().contains(&old) && !status().contains(&last));
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.never_says(&old).never_says(&last);
}
