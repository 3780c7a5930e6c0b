//! Size on disk and in memory.

use crate::comparison::COUNTS;
use crate::contenders::Setting;
use crate::{Result, peak};

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
        let (privileged, worker) = peak::of(setting.programs, &contender.command, &contender.environment)?;
        println!("{:<28}{privileged:>10}{worker:>10}", format!("handfast, {count}"));
    }
    Ok(())
}
