//! Ignored and blocked signals.

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::Step;
use crate::options::Options;

/// The numbers of a list of names (without `SIG`) or numbers; real-time signals have numbers only.
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

/// Both survive the execve.
pub fn set(options: &Options) -> Result<(), String> {
    for number in &options.ignore {
        // SAFETY: SIG_IGN installs no handler.
        if unsafe { libc::signal(*number, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(Errno::last()).step("--ignore");
        }
    }
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call initialises all of it.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for number in &options.block {
        // SAFETY: `set` was initialised above; a number that is no signal is an error.
        Errno::result(unsafe { libc::sigaddset(set.as_mut_ptr(), *number) }).step("--block")?;
    }
    // SAFETY: `set` is initialised; the old mask is not asked for.
    Errno::result(unsafe { libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) }).step("--block")?;
    Ok(())
}
