//! Attempts at actions that an app must not be able to do any more.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use serde_json::{Value, json};

use crate::descriptors::outcome;

/// Each result is `ok` or the name of the error. This resets the disposition of SIGCHLD, so read `status` before.
pub fn all() -> Value {
    // SAFETY: installs no handler. If CHLD were ignored, the children below would leave no exit status.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    json!({
        "setresuid": outcome(in_child(|| set_ids(libc::SYS_setresuid))),
        "setresgid": outcome(in_child(|| set_ids(libc::SYS_setresgid))),
        "stdin": outcome(open("/dev/stdin", false)),
        "stdout": outcome(open("/dev/stdout", true)),
        "stderr": outcome(open("/dev/stderr", true)),
    })
}

/// Runs `attempt` in a child, so that its success changes nothing in this process.
fn in_child(attempt: impl Fn() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: this process has one thread, so the child may run any code; it makes one system call and ends.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = attempt().err().map_or(0, |error| error.raw_os_error().unwrap_or(255));
            // SAFETY: ends the child at once, without the exit handlers of the parent.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is valid for the call.
            match unsafe { libc::waitpid(child, &raw mut status, 0) } {
                -1 => Err(io::Error::last_os_error()),
                _ if libc::WEXITSTATUS(status) == 0 && libc::WIFEXITED(status) => Ok(()),
                _ => Err(io::Error::from_raw_os_error(libc::WEXITSTATUS(status))),
            }
        }
    }
}

fn set_ids(call: libc::c_long) -> io::Result<()> {
    // SAFETY: both calls take three numbers. They go directly to the kernel, since C libraries do more than the system call.
    match unsafe { libc::syscall(call, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn open(path: &str, write: bool) -> io::Result<()> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(!write).write(write).custom_flags(flags).open(path).map(drop)
}
