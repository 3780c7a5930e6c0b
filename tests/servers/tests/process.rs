//! No server outlives the process that started it, however this process ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use handfast_testservers::{Directory, Process};

/// Tells the process that it is one of those to be ended.
const VICTIM: &str = "HANDFAST_TEST_VICTIM";

fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process runs; a zombie does not.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A server that prints its process id.
fn start() -> (Process, String) {
    let process = Process::start("a server", Directory::new(), &["sh", "-c", "echo $$; exec sleep 1000"], &[]);
    until("it says its number", || process.log().ends_with('\n'));
    let pid = process.log().trim_end().to_owned();
    (process, pid)
}

#[test]
fn a_server_ends_with_its_value() {
    let (process, pid) = start();
    let directory = process.directory().to_owned();
    assert!(runs(&pid) && directory.exists());
    drop(process);
    assert!(!runs(&pid) && !directory.exists());
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let (process, pid) = std::thread::spawn(start).join().expect("it does not panic");
    std::thread::sleep(Duration::from_millis(100));
    assert!(runs(&pid));
    drop(process);
}

#[test]
fn a_server_ends_where_the_process_is_killed() {
    if std::env::var_os(VICTIM).is_some() {
        let (process, pid) = start();
        println!("\nserver {pid} {}", process.directory().display());
        std::thread::sleep(Duration::from_secs(1000));
        drop(process);
    }
    let mut victim = Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", "--nocapture", "a_server_ends_where_the_process_is_killed"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(victim.stdout.take().expect("piped")).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("server ")).expect("it says so");
    let mut words = line.split(' ').skip(1);
    let (pid, directory) = (words.next().expect("a pid"), words.next().expect("a directory"));
    assert!(runs(pid) && Path::new(directory).exists());
    victim.kill().expect("it is our child");
    victim.wait().expect("it is our child");
    until("the server is gone", || !runs(pid));
    until("its directory is gone", || !Path::new(directory).exists());
}

#[test]
#[should_panic(expected = "a server ended:\nout of order\n")]
fn a_server_that_ends_by_itself_is_shown_with_its_words() {
    let command = ["sh", "-c", "echo out of order; exit 1"];
    let mut process = Process::start("a server", Directory::new(), &command, &[]);
    process.wait_for(|| None::<()>);
}
