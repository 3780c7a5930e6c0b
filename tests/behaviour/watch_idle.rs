//! How often a keeper wakes up: not at all while nothing is due, and for a read no more than it must.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::Directory;
use crate::watch::watch;
use nix::sys::signal::Signal;

/// How often a process has gone to sleep so far.
fn sleeps(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
    let line =
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("every status has it");
    line.trim().parse().expect("a number")
}

#[test]
fn nothing_wakes_a_keeper_while_nothing_is_due() {
    let directory = Directory::in_memory();
    let mut keeper = watch("[watch]\nrefresh = \"300d\"\n[secrets.db]\nfrom = \"mock:db\"\n", &directory);
    let both = [keeper.pid(), keeper.worker()];
    let start = Instant::now();
    loop {
        let before = both.map(sleeps);
        std::thread::sleep(Duration::from_secs(3));
        if both.map(sleeps) == before {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(12), "they never sleep through");
    }
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

/// So one secret whose `refresh` is a minute or more wakes it at most twice a minute.
#[test]
fn a_read_that_changes_nothing_wakes_the_privileged_process_once_or_twice() {
    let directory = Directory::in_memory();
    let keeper = watch("[watch]\nrefresh = \"1s\"\n[secrets.db]\nfrom = \"mock:db\"\n", &directory);
    let (start, before) = (Instant::now(), sleeps(keeper.pid()));
    std::thread::sleep(Duration::from_secs(5));
    let woken = sleeps(keeper.pid()) - before;
    let reads = (start.elapsed().as_secs_f64() / 0.9).ceil() as u64 + 1;
    assert!((1..=2 * reads).contains(&woken), "{woken} times for at most {reads} reads");
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}
