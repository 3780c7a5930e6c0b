//! The registers of a stopped process that system calls use.

use std::io;
use std::mem::size_of_val;

use nix::errno::Errno;

/// The general registers in the kernel's format. The array has the size of aarch64's set, which is the larger one.
#[derive(Clone)]
pub struct Registers {
    words: [i64; 34],
    size: usize,
}

#[cfg(target_arch = "x86_64")]
mod layout {
    /// rax, rip, and the length of `syscall`.
    pub const NUMBER: usize = 10;
    pub const RESULT: usize = 10;
    pub const NEXT: usize = 16;
    pub const LENGTH: i64 = 2;
    /// rdi, rsi, rdx, r10, r8, r9.
    pub const ARGUMENTS: [usize; 6] = [14, 13, 12, 7, 9, 8];
    /// The number of the current system call, if there is one. It is set to none.
    pub const CURRENT: Option<usize> = Some(15);
}

#[cfg(target_arch = "aarch64")]
mod layout {
    /// x8, x0, pc, and the length of `svc`.
    pub const NUMBER: usize = 8;
    pub const RESULT: usize = 0;
    pub const NEXT: usize = 32;
    pub const LENGTH: i64 = 4;
    pub const ARGUMENTS: [usize; 6] = [0, 1, 2, 3, 4, 5];
    pub const CURRENT: Option<usize> = None;
}

/// NT_PRSTATUS.
const GENERAL: usize = 1;

impl Registers {
    /// Reads the registers of a process that stands at the end of a system call.
    pub fn of(process: libc::pid_t) -> io::Result<Self> {
        let mut words = [0; 34];
        let mut part = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: size_of_val(&words) };
        set(process, libc::PTRACE_GETREGSET, &mut part)?;
        Ok(Self { words, size: part.iov_len })
    }

    /// Writes the registers to the process.
    pub fn put(&self, process: libc::pid_t) -> io::Result<()> {
        let mut words = self.words;
        let mut part = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: self.size };
        set(process, libc::PTRACE_SETREGSET, &mut part)
    }

    /// A copy that executes the instruction of the last system call again, with this number and these arguments.
    pub fn calling(&self, number: i64, arguments: [i64; 6]) -> Self {
        let mut new = self.clone();
        new.words[layout::NEXT] -= layout::LENGTH;
        for (at, argument) in layout::ARGUMENTS.into_iter().zip(arguments) {
            new.words[at] = argument;
        }
        new.words[layout::NUMBER] = number;
        if let Some(current) = layout::CURRENT {
            new.words[current] = -1;
        }
        new
    }

    /// A copy with another result of the last system call.
    pub fn returning(&self, result: i64) -> Self {
        let mut new = self.clone();
        new.words[layout::RESULT] = result;
        new
    }
}

fn set(process: libc::pid_t, request: impl Into<i64>, part: &mut libc::iovec) -> io::Result<()> {
    let request = request.into();
    // SAFETY: `part` holds the address and the length of a buffer that lives until the call returns. (The type of the request
    // differs between C libraries.)
    let result = unsafe { libc::ptrace(request as _, process, GENERAL, std::ptr::from_mut(part)) };
    Errno::result(result).map(drop).map_err(Into::into)
}
