//! The worker begins on another processor than the privileged process; where the app runs is not handfast's business.

use std::fs;

use crate::support::{Run, needs_program};

/// The list of a process' processors, as the kernel writes it.
fn allowed(status: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("every kernel writes it").trim().to_owned()
}

fn run() -> Run {
    Run::new().args(["-s", "a=mock:a"]).app(["cat", "/proc/self/status"])
}

#[test]
fn the_app_may_run_where_handfast_may() {
    let ours = allowed(&fs::read_to_string("/proc/self/status").expect("it is there"));
    let outcome = run().start();
    assert_eq!((outcome.code, allowed(&String::from_utf8_lossy(&outcome.stdout))), (0, ours), "{outcome:?}");
}

#[test]
fn one_processor_is_enough() {
    let taskset = needs_program!("taskset");
    let ours = allowed(&fs::read_to_string("/proc/self/status").expect("it is there"));
    let first: String = ours.chars().take_while(char::is_ascii_digit).collect();
    let outcome = run().through(&[taskset.to_str().expect("text"), "--cpu-list", &first]).start();
    assert_eq!((outcome.code, allowed(&String::from_utf8_lossy(&outcome.stdout))), (0, first), "{outcome:?}");
}

#[test]
fn the_worker_is_not_kept_from_any_for_long() {
    let ours = allowed(&fs::read_to_string("/proc/self/status").expect("it is there"));
    let config = "[providers.mock]\nlatency = \"10s\"\n[secrets.a]\nfrom = \"mock:a\"\n";
    let mut running = Run::new().config(config).spawn();
    let worker = fs::read_to_string(format!("/proc/{}/status", running.worker())).expect("it waits");
    // It may have begun before it was sent elsewhere: then it has all but one.
    let (all, worker) = (numbers(&ours), numbers(&allowed(&worker)));
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.finish().code, 143);
    assert!(worker.len() + 1 >= all.len() && worker.iter().all(|number| all.contains(number)), "{worker:?} of {all:?}");
}

/// The numbers of a list such as `0-2,5`.
fn numbers(list: &str) -> Vec<u32> {
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let range =
        |part: &str| part.split_once('-').map_or_else(|| number(part)..=number(part), |(a, b)| number(a)..=number(b));
    list.split(',').flat_map(range).collect()
}
