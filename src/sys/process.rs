//! Attributes of the process that neither std nor nix has in safe form.

use std::fs::read_link;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::unistd::ForkResult;

/// Whether exec gave this process more rights than its parent had: set-id bits or file capabilities (`AT_SECURE`).
pub fn secure_execution() -> bool {
    // SAFETY: reads the auxiliary vector, which libc keeps for the life of the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// How many threads this process has.
pub fn threads() -> io::Result<u64> {
    // A directory's link count is 2 plus its subdirectories: one per thread.
    Ok(std::fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// The program that emulates this one's processor, such as qemu-user: an emulator answers for `/proc/self` in the program's stead,
/// and leaves `/proc/thread-self` to the kernel.
pub fn emulator() -> Option<PathBuf> {
    let (shown, found) = (read_link("/proc/self/exe").ok()?, read_link("/proc/thread-self/exe").ok()?);
    (shown != found).then_some(found)
}

/// Forks this process. Refuses if the process has more than one thread: the child could then find locks that no thread will ever
/// release.
pub fn fork() -> io::Result<ForkResult> {
    if threads()? != 1 {
        return Err(io::Error::other("more than one thread"));
    }
    // SAFETY: the process has one thread (seen above; only that thread could start another), so the child's memory is a
    // consistent copy, and it may go on like the parent.
    Ok(unsafe { nix::unistd::fork() }?)
}
