//! The peak memory of both processes of handfast, measured by `at-exec`.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Result;
use crate::programs::Programs;

/// The peak in KiB of the privileged process when it enters execve, and of the worker when it exits. Variables have the form
/// `NAME=VALUE`.
pub fn of(programs: &Programs, command: &[CString], environment: &[CString]) -> Result<(u64, u64)> {
    let mut at_exec = Command::new(&programs.at_exec);
    at_exec.arg("--").env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    at_exec.args(command.iter().map(|word| OsStr::from_bytes(word.as_bytes())));
    for variable in environment {
        let (name, value) = variable.to_str()?.split_once('=').ok_or("no variable")?;
        at_exec.env(name, value);
    }
    let output = at_exec.output()?;
    let report: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("at-exec: {error}: {output:?}"))?;
    let peak = |process: &str, at: &str| -> Result<u64> {
        let entries = report.as_array().into_iter().flatten();
        let mut entries = entries.filter(|entry| entry["process"] == process && entry["at"] == at);
        let peak = entries.next().and_then(|entry| entry["peak_kib"].as_u64());
        peak.ok_or_else(|| format!("no {process} at its {at} in {report}").into())
    };
    Ok((peak("privileged", "execve")?, peak("worker", "exit")?))
}
