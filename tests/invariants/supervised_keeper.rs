//! Invariants 2 and 3 for as long as `run --supervise` keeps files fresh: nothing that its worker does touches the app.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::hostile_worker::socket_of;
use crate::support::{Directory, Outcome, Run, Running, needs_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CONFIG: &str = "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[providers.mock]\nrotate_every = \"1s\"\n[secrets.db]\nfrom = \"mock:db\"\n";

fn ready(directory: &Directory, patience: &str) -> Outcome {
    Run::command("ready").args(["--dir", directory.text(), "--wait", patience]).start()
}

/// A supervisor whose worker is stopped, and the worker's socket in our hands. The app ends by TERM.
fn taken_over(directory: &Directory) -> (Running, UnixStream) {
    let run = Run::new().config(CONFIG).args(["--supervise", "--dir", directory.text()]).app(["/bin/sleep", "100"]);
    let mut supervisor = run.spawn();
    let outcome = ready(directory, "10s");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let worker = supervisor.worker();
    kill(Pid::from_raw(worker), Signal::SIGSTOP).expect("it is there");
    (supervisor, socket_of(worker))
}

#[test]
fn a_supervisors_worker_that_lies_changes_nothing_and_the_app_runs_on() {
    needs_root!();
    let directory = Directory::in_memory();
    let (supervisor, mut socket) = taken_over(&directory);
    let value = || fs::read(directory.path().join("db")).expect("root may");
    let before = value();
    socket.write_all(&[99; 16]).expect("the supervisor listens");
    let start = Instant::now();
    while ready(&directory, "0s").code != 69 {
        assert!(start.elapsed() < Duration::from_secs(15), "its secrets are not stale");
    }
    assert_eq!(value(), before);
    supervisor.signal(Signal::SIGTERM);
    let outcome = supervisor.finish();
    assert_eq!(outcome.code, 143, "the app has run until TERM: {outcome:?}");
    outcome
        .says("error: the worker sent a frame that does not exist: the app runs on, and its secrets are read no more");
}

#[test]
fn a_supervisor_passes_signals_on_while_its_worker_stops_in_the_middle() {
    needs_root!();
    let directory = Directory::in_memory();
    let (supervisor, mut socket) = taken_over(&directory);
    socket.write_all(&[2, 0, 0, 0, 0]).expect("the supervisor listens");
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    supervisor.signal(Signal::SIGTERM);
    let outcome = supervisor.finish();
    assert!(outcome.code == 143 && start.elapsed() < Duration::from_secs(10), "{outcome:?}");
}
