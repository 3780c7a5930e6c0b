//! The counts of `steps` for programs whose instructions are known.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

/// A file of this test, removed at its end.
struct Report(PathBuf);

impl Report {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("handfast-steps-{name}-{}", std::process::id())))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("it was written")
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// The number of instructions of the first process, and of the processes that it has forked.
fn counted(report: &Report) -> (u64, u64) {
    let counted: Value = serde_json::from_str(&report.text()).expect("it is JSON");
    let number = |process: &str| counted[process].as_u64().expect("a number");
    (number("first"), number("forked"))
}

#[test]
fn what_each_process_runs_is_counted_the_same_each_time() {
    let [noop, again, shell] = ["noop", "again", "shell"].map(|name| {
        let (report, noop) = (Report::new(name), env!("CARGO_BIN_EXE_noop"));
        let mut steps = Command::new(env!("CARGO_BIN_EXE_steps"));
        steps.env_clear().arg("--out").arg(&report.0).arg("--");
        match name {
            // The first process ends only after the process that it forks.
            "shell" => steps.args(["/bin/sh", "-c", "(exit 7); exit $?"]),
            _ => steps.arg(noop),
        };
        let code = steps.status().expect("it starts").code();
        assert_eq!(code, Some(if name == "shell" { 7 } else { 0 }));
        counted(&report)
    });
    assert!(noop.0 > 100, "{noop:?}");
    assert_eq!((noop.1, again.1), (0, 0));
    // The loader chooses random addresses.
    assert!(noop.0.abs_diff(again.0) * 20 < noop.0, "{noop:?} {again:?}");
    assert!(shell.0 > shell.1 && shell.1 > 100, "{shell:?}");
}

/// dd prints the time that its thousands of reads and writes have taken.
#[test]
fn the_clock_does_not_go_on_with_each_step() {
    let report = Report::new("clock");
    let started = Instant::now();
    let dd = ["--", "dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=1000"];
    let mut steps = Command::new(env!("CARGO_BIN_EXE_steps"));
    let output = steps.arg("--out").arg(&report.0).args(dd).env("LC_ALL", "C").output().expect("it starts");
    let (elapsed, told) = (started.elapsed().as_secs_f64(), String::from_utf8_lossy(&output.stderr).into_owned());
    let copying = told.split(", ").find_map(|part| part.strip_suffix(" s")?.parse::<f64>().ok());
    let copying = copying.unwrap_or_else(|| panic!("{output:?}"));
    assert!(copying > 0.0 && copying < elapsed / 10.0, "{copying} s of {elapsed} s");
    assert!(counted(&report).0 > 2 * 1000, "{:?}", counted(&report));
}
