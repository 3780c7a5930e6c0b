//! The results of the attempts, one line for each. The first word is the verdict:
//!
//! - `held NAME ERROR`: the call was refused, as required; `HOLE NAME RESULT`: it was not refused, or not by the sandbox.
//! - `works NAME`: the call works, as required; `BROKEN NAME ERROR`: it fails.
//! - `told NAME RESULT`: the call may work or fail.
//! - `same NAME`, `CHANGED NAME FROM -> TO`: the state of an attacked object, before and after.
//! - `count …`: the number of each verdict.

use std::collections::BTreeMap;
use std::fmt::Write;

use nix::errno::Errno;

use crate::attacks::Must;

/// The lines so far.
#[derive(Default)]
pub struct Report {
    lines: Vec<(&'static str, String)>,
}

impl Report {
    /// Adds an attempt with the kernel's last answer.
    pub fn attempt(&mut self, name: &str, must: Must, result: i64) {
        let error = (result < 0).then(|| Errno::from_raw(i32::try_from(-result).unwrap_or(0)));
        let refused = matches!(error, Some(Errno::EPERM | Errno::EACCES | Errno::ENOSYS));
        let verdict = match must {
            Must::Fail if refused => "held",
            Must::BeUnknown if error == Some(Errno::ENOSYS) => "held",
            Must::Fail | Must::BeUnknown => "HOLE",
            Must::Work if error.is_none() => "works",
            Must::EndWith(expected) if error == Some(expected) => "works",
            Must::Work | Must::EndWith(_) => "BROKEN",
            Must::Anything => "told",
        };
        let result = error.map_or_else(|| format!("ok {result}"), |error| format!("{error:?}"));
        self.lines.push((verdict, format!("{name} {result}")));
    }

    /// Adds the state of the attacked objects.
    pub fn effect(&mut self, name: &str, before: &str, after: &str) {
        if before == after {
            self.lines.push(("same", name.to_owned()));
        } else {
            self.lines.push(("CHANGED", format!("{name} {before} -> {after}")));
        }
    }

    /// The whole report; empty if nothing was attempted.
    pub fn text(&self) -> String {
        if self.lines.is_empty() {
            return String::new();
        }
        let mut counts = BTreeMap::new();
        let mut text = String::new();
        for (verdict, line) in &self.lines {
            *counts.entry(*verdict).or_insert(0) += 1;
            let _ = writeln!(text, "{verdict} {line}");
        }
        let counts: Vec<String> = counts.into_iter().map(|(verdict, count)| format!("{verdict} {count}")).collect();
        let _ = writeln!(text, "count {}", counts.join(" "));
        text
    }
}
