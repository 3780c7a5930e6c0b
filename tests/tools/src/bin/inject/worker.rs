//! A worker that is held at the end of a system call, and executes other system calls instead.

use std::ffi::c_int;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use handfast_testtools::trace::{resume, system_call};
use nix::errno::Errno;

use crate::machine::Registers;

/// The kernel's names for system-call stops.
pub const ENTRY: u64 = 1;
pub const EXIT: u64 = 2;

/// These results are not final: the kernel restarts the call.
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;

/// A worker that is held.
pub struct Worker {
    pub process: libc::pid_t,
    pub parent: libc::pid_t,
    pub uid: u32,
    pub gid: u32,
    registers: Registers,
}

impl Worker {
    /// Holds a process that stands at the end of a system call.
    pub fn hold(process: libc::pid_t) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse::<u32>().ok()).ok_or_else(|| io::Error::other(format!("no {name}")))
        };
        let parent = number("PPid:")?.cast_signed();
        let (uid, gid) = (number("Uid:")?, number("Gid:")?);
        Ok(Self { process, parent, uid, gid, registers: Registers::of(process)? })
    }

    /// The worker's socket to the privileged process. At first, the worker has no other Unix socket.
    pub fn socket(&self) -> io::Result<i64> {
        (3..1024)
            .find(|&number| is_unix_socket(self.process, number))
            .map(i64::from)
            .ok_or_else(|| io::Error::other("the worker has no socket"))
    }

    /// Makes the worker execute one system call.
    pub fn call(&self, number: i64, arguments: [i64; 6]) -> io::Result<i64> {
        self.begin(number, arguments)?;
        self.finish()
    }

    /// Makes the worker execute a waiting system call, and interrupts it as SIGSTOP and SIGCONT do. The kernel then continues
    /// the call as `restart_syscall`.
    pub fn call_interrupted(&self, number: i64, arguments: [i64; 6]) -> io::Result<i64> {
        self.begin(number, arguments)?;
        resume(libc::PTRACE_SYSCALL, self.process, 0)?;
        self.wait_until_it_sleeps();
        resume(libc::PTRACE_INTERRUPT, self.process, 0)?;
        self.wait_for_end()
    }

    /// Waits at most as long as a slow machine needs. If the worker does not sleep by then, the call is not interrupted.
    fn wait_until_it_sleeps(&self) {
        let deadline = Instant::now() + Duration::from_millis(200);
        let sleeps =
            || fs::read_to_string(format!("/proc/{}/stat", self.process)).is_ok_and(|stat| stat.contains(") S "));
        while !sleeps() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn begin(&self, number: i64, arguments: [i64; 6]) -> io::Result<()> {
        self.registers.calling(number, arguments).put(self.process)?;
        resume(libc::PTRACE_SYSCALL, self.process, 0)?;
        while self.stop()? != Some(ENTRY) {
            resume(libc::PTRACE_SYSCALL, self.process, 0)?;
        }
        Ok(())
    }

    fn finish(&self) -> io::Result<i64> {
        resume(libc::PTRACE_SYSCALL, self.process, 0)?;
        self.wait_for_end()
    }

    fn wait_for_end(&self) -> io::Result<i64> {
        loop {
            if self.stop()? == Some(EXIT) {
                let result = system_call(self.process)?[3].cast_signed();
                if !RESTARTS.contains(&result) {
                    return Ok(result);
                }
            }
            resume(libc::PTRACE_SYSCALL, self.process, 0)?;
        }
    }

    /// Waits for the worker's next stop, and returns the kind of a system-call stop. A child that the worker forks is killed
    /// here.
    fn stop(&self) -> io::Result<Option<u64>> {
        let mut status: c_int = 0;
        // SAFETY: `status` is valid for the call.
        Errno::result(unsafe { libc::waitpid(self.process, &raw mut status, libc::__WALL) })?;
        if !libc::WIFSTOPPED(status) {
            return Err(io::Error::other(format!("the worker ended in the middle of an attempt: {status:#x}")));
        }
        if matches!(status >> 16, libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE) {
            self.end_child()?;
        }
        Ok((libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80)
            .then(|| system_call(self.process))
            .transpose()?
            .map(|is| is[0] & 0xff))
    }

    fn end_child(&self) -> io::Result<()> {
        let mut child: libc::c_ulong = 0;
        // SAFETY: the kernel writes one word to the pointer, which is valid for it.
        let result = unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, self.process, 0usize, &raw mut child) };
        Errno::result(result)?;
        let child = libc::pid_t::try_from(child).map_err(io::Error::other)?;
        // SAFETY: it takes numbers.
        Errno::result(unsafe { libc::kill(child, libc::SIGKILL) })?;
        // The main loop, which waits for all processes, reaps the child.
        Ok(())
    }

    /// Writes into the worker's memory.
    pub fn write(&self, address: i64, bytes: &[u8]) -> io::Result<()> {
        let memory = File::options().write(true).open(format!("/proc/{}/mem", self.process))?;
        memory.write_all_at(bytes, address.cast_unsigned())
    }

    /// Restores the registers that the worker had when it was held.
    pub fn restore(&self) -> io::Result<()> {
        self.registers.put(self.process)
    }
}

/// Whether a descriptor of a process is a socket.
pub fn is_socket(process: libc::pid_t, number: i32) -> bool {
    fs::read_link(format!("/proc/{process}/fd/{number}"))
        .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
}

/// Whether it is one of this machine's own: metrics have a listener, which is none.
fn is_unix_socket(process: libc::pid_t, number: i32) -> bool {
    let link = std::fs::read_link(format!("/proc/{process}/fd/{number}")).unwrap_or_default();
    let Some(inode) = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')) else {
        return false;
    };
    let sockets = std::fs::read_to_string(format!("/proc/{process}/net/unix")).unwrap_or_default();
    sockets.lines().any(|line| line.split_whitespace().nth(6) == Some(inode))
}
