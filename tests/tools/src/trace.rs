//! Follows other programs with ptrace.

use std::ffi::{CString, c_int};
use std::io::{self, Read};

use nix::errno::Errno;

/// Forks a child that waits until it is traced with these options, and then becomes the command.
///
/// # Errors
/// If the child cannot be forked or traced. If the command cannot be executed, the child ends.
pub fn start(command: &[CString], options: c_int) -> io::Result<libc::pid_t> {
    let (mut gate, opener) = io::pipe()?;
    // SAFETY: this process has one thread, so the child may run any code.
    match Errno::result(unsafe { libc::fork() })? {
        0 => {
            drop(opener);
            let _ = gate.read(&mut [0]);
            let Err(error) = nix::unistd::execvp(&command[0], command);
            crate::start::fail("trace", &format!("cannot execute {}: {error}", command[0].to_string_lossy()))
        }
        child => {
            ptrace(libc::PTRACE_SEIZE, child, i64::from(options))?;
            drop(opener);
            Ok(child)
        }
    }
}

/// The next stop or end of any process, and its status; `None` if no process is left.
///
/// # Errors
/// The errors of waitpid.
pub fn wait() -> io::Result<Option<(libc::pid_t, c_int)>> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        match Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) }) {
            Ok(process) => return Ok(Some((process, status))),
            Err(Errno::ECHILD) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `struct ptrace_syscall_info` as words, since not every C library declares it. The first byte is the kind of the stop, the
/// second word is the address of the next instruction, and the other words describe the system call, if there is one.
///
/// # Errors
/// The errors of ptrace.
pub fn system_call(process: libc::pid_t) -> io::Result<[u64; 11]> {
    const REQUEST: i64 = 0x420e;
    let mut information = [0u64; 11];
    let pointer = information.as_mut_ptr();
    // SAFETY: the kernel writes at most this number of bytes to the pointer, which is valid for them.
    let result = unsafe { libc::ptrace(REQUEST as _, process, size_of_val(&information), pointer) };
    Errno::result(result)?;
    Ok(information)
}

/// Resumes a stopped process. A process that was killed meanwhile is ignored.
///
/// # Errors
/// The errors of ptrace.
pub fn resume(request: impl Into<i64>, process: libc::pid_t, signal: c_int) -> io::Result<()> {
    match ptrace(request, process, i64::from(signal)) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        result => result,
    }
}

fn ptrace(request: impl Into<i64>, process: libc::pid_t, data: i64) -> io::Result<()> {
    let request = request.into();
    // SAFETY: the requests used here take numbers only. (The type of `request` differs between C libraries.)
    let result = unsafe { libc::ptrace(request as _, process, 0usize, data) };
    Errno::result(result).map(drop).map_err(Into::into)
}
