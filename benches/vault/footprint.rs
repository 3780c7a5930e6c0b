//! The size on disk and in memory, and the number of requests.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::comparison::COUNTS;
use crate::contenders::{Contender, Setting};
use crate::{Result, peak};

/// The bytes of the binary, the requests of a start, and the peak memory of both processes: of the worker until its exit, and
/// of the privileged process until its execve.
pub fn print(setting: &Setting<'_>) -> Result<()> {
    println!("\nbinary: {} bytes", std::fs::metadata(&setting.programs.handfast)?.len());
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        println!("skipped: peak memory: needs root, because handfast makes itself unreadable for others");
    }
    println!("{:<28}{:>10}{:>12}{:>10}  peak memory, KiB", "", "requests", "privileged", "worker");
    for count in COUNTS {
        let contender = setting.handfast(count)?;
        let requests = requests(&contender)?;
        let (privileged, worker) = match is_root {
            true => {
                let (privileged, worker) = peak::of(setting.programs, &contender.command, &contender.environment)?;
                (privileged.to_string(), worker.to_string())
            }
            false => Default::default(),
        };
        println!("{:<28}{requests:>10}{privileged:>12}{worker:>10}", format!("handfast, {count}"));
    }
    Ok(())
}

/// The number of requests of a start, from its own log.
fn requests(contender: &Contender) -> Result<u64> {
    let words: Vec<&OsStr> = contender.command.iter().map(|word| OsStr::from_bytes(word.as_bytes())).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().env("HANDFAST_LOG_LEVEL", "info");
    for variable in &contender.environment {
        let (name, value) = variable.to_str()?.split_once('=').ok_or("NAME=VALUE")?;
        command.env(name, value);
    }
    let output = command.output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    let counted = log.lines().find_map(|line| line.split_once(" request")?.0.rsplit(' ').next()?.parse().ok());
    counted.ok_or_else(|| format!("no count of requests in the log: {log}").into())
}
