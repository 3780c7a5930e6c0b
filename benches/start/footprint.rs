//! The size on disk and in memory.

use std::ffi::CString;

use crate::contenders::handfast_words;
use crate::programs::Programs;
use crate::{Result, bound, peak};

/// The bytes of the binary, and the peak memory of both processes: of the worker until its exit, and of the privileged process
/// until its execve.
pub fn print(programs: &Programs) -> Result<()> {
    let size = std::fs::metadata(&programs.handfast)?.len();
    println!("\nbinary: {size} bytes");
    bound::print("binary", size as f64 / 1e6, 6.0, " MB");
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: peak memory: needs root, because handfast makes itself unreadable for others");
        return Ok(());
    }
    println!("{:<22}{:>10}{:>10}  peak memory, KiB", "", "privileged", "worker");
    for secrets in [1, 10, 100] {
        let mut words = handfast_words(&[], secrets, programs);
        words.push(programs.noop.display().to_string());
        let command = words.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let (privileged, worker) = peak::of(programs, &command, &[])?;
        println!("{:<22}{privileged:>10}{worker:>10}", format!("handfast, {secrets} by fd"));
        bound::print("privileged process", privileged as f64, 2048.0, " KiB");
        bound::print("worker", worker as f64, 8192.0, " KiB");
    }
    Ok(())
}
