//! Size on disk and in memory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::contenders::Setting;
use crate::{COUNTS, Result};

/// Bytes of the binary, and the peak memory of both processes, up to the worker's exit and the privileged one's execve.
pub fn print(setting: &Setting<'_>) -> Result<()> {
    println!("\nbinary: {} bytes", std::fs::metadata(&setting.programs.handfast)?.len());
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: peak memory: needs root, because handfast makes itself unreadable for others");
        return Ok(());
    }
    println!("{:<28}{:>10}{:>10}  peak memory, KiB", "", "privileged", "worker");
    for count in COUNTS {
        let contender = setting.handfast(count)?;
        let mut command = Command::new(&setting.programs.at_exec);
        command.arg("--").env_clear().stdin(Stdio::null()).stderr(Stdio::null());
        for word in &contender.command {
            command.arg(OsStr::from_bytes(word.as_bytes()));
        }
        for variable in &contender.environment {
            let (name, value) = variable.to_str()?.split_once('=').ok_or("no variable")?;
            command.env(name, value);
        }
        let output = command.output()?;
        let report: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("at-exec: {error}: {output:?}"))?;
        let peak = |process: &str, at: &str| -> Result<u64> {
            let entries = report.as_array().into_iter().flatten();
            let mut entries = entries.filter(|entry| entry["process"] == process && entry["at"] == at);
            let peak = entries.next().and_then(|entry| entry["peak_kib"].as_u64());
            peak.ok_or_else(|| format!("no {process} at its {at} in {report}").into())
        };
        let (privileged, worker) = (peak("privileged", "execve")?, peak("worker", "exit")?);
        println!("{:<28}{privileged:>10}{worker:>10}", format!("handfast, {count}"));
    }
    Ok(())
}
