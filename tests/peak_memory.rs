//! The memory that a start takes at its peak is mostly pages of the program itself. The linker puts what a start runs and reads side by
//! side (`.cargo/start.ld`); where that list has grown old, the start touches far more.

mod support;

use support::{Run, needs_root};

/// KiB: a third more than there is when the list is new, and less than with an old one.
const MOST: u64 = 1150;

#[test]
fn a_start_touches_little_of_the_program() {
    needs_root!();
    if std::env::var_os("HANDFAST_BIN").is_none() {
        eprintln!("skipped: a_start_touches_little_of_the_program: needs the static binary (tests/run)");
        return;
    }
    let secrets = (0..10).flat_map(|number| ["-s".to_owned(), format!("s{number}=mock:{number}")]);
    let outcome = Run::new().args(secrets).measured().start();
    for (process, at) in [("privileged", "execve"), ("worker", "exit")] {
        let reports = outcome.memory().as_array().expect("a list");
        let report =
            reports.iter().find(|report| report["process"] == process && report["at"] == at).expect("it ended");
        let peak = report["peak_kib"].as_u64().expect("a number");
        assert!(peak < MOST, "{process}: {peak} KiB: build/start-order makes the list anew (CONTRIBUTING.md)");
    }
}
