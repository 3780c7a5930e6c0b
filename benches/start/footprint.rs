//! Size on disk and in memory.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Result;
use crate::contenders::handfast_words;
use crate::programs::Programs;

/// Bytes of the binary, and the peak memory of both processes, up to the worker's exit and the privileged one's execve.
pub fn print(programs: &Programs) -> Result<()> {
    println!("\nbinary: {} bytes", std::fs::metadata(&programs.handfast)?.len());
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: peak memory: needs root, because handfast makes itself unreadable for others");
        return Ok(());
    }
    println!("{:<22}{:>10}{:>10}  peak memory, KiB", "", "privileged", "worker");
    for secrets in [1, 10, 100] {
        let report = at_exec(secrets, programs)?;
        let peak = |process: &str, at: &str| -> Result<u64> {
            let entries = report.as_array().into_iter().flatten();
            let mut entries = entries.filter(|entry| entry["process"] == process && entry["at"] == at);
            let peak = entries.next().and_then(|entry| entry["peak_kib"].as_u64());
            peak.ok_or_else(|| format!("no {process} at its {at} in {report}").into())
        };
        println!(
            "{:<22}{:>10}{:>10}",
            format!("handfast, {secrets} by fd"),
            peak("privileged", "execve")?,
            peak("worker", "exit")?
        );
    }
    Ok(())
}

fn at_exec(secrets: usize, programs: &Programs) -> Result<Value> {
    let mut command = Command::new(&programs.at_exec);
    command.arg("--").args(handfast_words(&[], secrets, programs)).arg(&programs.noop);
    let output = command.env_clear().stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("at-exec: {error}: {output:?}").into())
}
