//! Signals to children, their ends, and the stop of this process itself: with every signal that the kernel has, which nix and the
//! C library do not.

use std::io;

use libc::{c_int, c_long, pid_t};
use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use super::signals::{self, Incoming, Signals};

/// The new state of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It has ended, with the exit code that stands for its end: 128+n where signal n has killed it.
    Ended(u8),
    /// This signal has stopped it.
    Stopped(u8),
}

/// The next child that has ended, which is reaped, or was stopped. `None` where there is none now.
pub fn changed() -> io::Result<Option<(i32, ChildState)>> {
    match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
        Ok(child) => Ok(child.map(|(child, status)| (child.as_raw_pid(), ChildState::of(status.as_raw())))),
        Err(Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl ChildState {
    fn of(status: c_int) -> Self {
        // The masks make each of them a byte.
        match status {
            status if libc::WIFSTOPPED(status) => Self::Stopped(libc::WSTOPSIG(status) as u8),
            status if libc::WIFSIGNALED(status) => Self::Ended(128 + libc::WTERMSIG(status) as u8),
            status => Self::Ended(libc::WEXITSTATUS(status) as u8),
        }
    }
}

/// Sends a signal to a process, or to a process group where the number is negative.
pub fn send(target: pid_t, signal: u8) -> io::Result<()> {
    // SAFETY: the call takes two numbers and touches no memory of ours.
    check(unsafe { libc::kill(target, signal.into()) }.into())
}

/// The kernel's `siginfo_t` of a queued signal on 64-bit machines.
#[repr(C)]
struct Queued {
    number: c_int,
    error: c_int,
    code: c_int,
    padding: c_int,
    sender: pid_t,
    user: libc::uid_t,
    value: u64,
    rest: [u64; 12],
}

/// Queues a signal that has arrived here for a process. Fails with `WouldBlock` where as many signals wait as the process' user may
/// have (RLIMIT_SIGPENDING).
pub fn queue(process: pid_t, arrived: Incoming) -> io::Result<()> {
    let Incoming { number, sender, user, value } = arrived;
    let number = c_int::from(number);
    let value = value.unwrap_or_default();
    let information = Queued { number, error: 0, code: libc::SI_QUEUE, padding: 0, sender, user, value, rest: [0; 12] };
    // SAFETY: the kernel reads one `siginfo_t`: 128 bytes, as many as `information` has, which lives until the call returns.
    check(unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, process, number, &raw const information) })
}

/// Stops this process as ^Z does, or its whole process group, and returns once it was continued. Returns at once if the kernel does not
/// stop it: PID 1, and a process that no other process could continue. Returns whether it was stopped.
pub fn stop(whole_group: bool) -> io::Result<bool> {
    let target = if whole_group { 0 } else { nix::unistd::getpid().as_raw() };
    let stop = Signals::of(&[Signal::SIGTSTP]);
    send(target, Signal::SIGTSTP as u8)?;
    // It takes its action here.
    signals::unblock(stop)?;
    signals::block(stop)?;
    signals::is_held_back(Signal::SIGCONT)
}

fn check(result: c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queued_signal_has_the_size_that_the_kernel_reads() {
        assert_eq!(size_of::<Queued>(), 128);
    }

    #[test]
    fn an_end_is_an_exit_code() {
        for code in 0..=255_u8 {
            assert_eq!(ChildState::of(c_int::from(code) << 8), ChildState::Ended(code));
        }
        for signal in 1..=64_u8 {
            assert_eq!(ChildState::of(signal.into()), ChildState::Ended(128 + signal));
            // With a core file.
            assert_eq!(ChildState::of(c_int::from(signal) | 0x80), ChildState::Ended(128 + signal));
            assert_eq!(ChildState::of(c_int::from(signal) << 8 | 0x7f), ChildState::Stopped(signal));
        }
    }
}
