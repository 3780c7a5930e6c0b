//! Ignored and blocked signals.

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::Step;
use crate::options::Options;

/// Parses a list of signal names (without `SIG`) or numbers. Real-time signals have only numbers.
pub fn numbers(list: &str) -> Result<Vec<i32>, String> {
    let one = |name: &str| match name.parse() {
        Ok(number) => Ok(number),
        Err(_) => {
            let signal: Result<Signal, _> = format!("SIG{name}").parse();
            signal.map(|signal| signal as i32).map_err(|_| format!("unknown signal {name}"))
        }
    };
    list.split(',').map(one).collect()
}

/// At least as large as the kernel's `struct sigaction` on all supported machines. All zeroes mean the default action and an
/// empty mask.
const NOTHING: [u64; 8] = [0; 8];
/// The size of a signal mask that the kernel expects.
const MASK_SIZE: usize = 8;

/// Resets all signals: none is ignored, none is blocked. It calls the kernel directly, because C libraries reserve some
/// real-time signals, and these may be ignored too.
pub fn reset() -> Result<(), String> {
    for number in (1..=64).filter(|number| ![libc::SIGKILL, libc::SIGSTOP].contains(number)) {
        let old = std::ptr::null_mut::<u64>();
        // SAFETY: the kernel reads one `struct sigaction` of `NOTHING`, which installs no handler.
        let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, number, NOTHING.as_ptr(), old, MASK_SIZE) };
        Errno::result(result).step("--clean")?;
    }
    let old = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads `MASK_SIZE` bytes of `NOTHING`.
    let result =
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, NOTHING.as_ptr(), old, MASK_SIZE) };
    Errno::result(result).step("--clean").map(drop)
}

/// Ignores and blocks signals. Both survive the execve.
pub fn set(options: &Options) -> Result<(), String> {
    for number in &options.ignore {
        // SAFETY: SIG_IGN installs no handler.
        if unsafe { libc::signal(*number, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(Errno::last()).step("--ignore");
        }
    }
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call initialises the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for number in &options.block {
        // SAFETY: `set` was initialised above; an invalid signal number is an error.
        Errno::result(unsafe { libc::sigaddset(set.as_mut_ptr(), *number) }).step("--block")?;
    }
    // SAFETY: `set` is initialised; the old mask is not requested.
    Errno::result(unsafe { libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) }).step("--block")?;
    Ok(())
}
