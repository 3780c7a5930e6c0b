//! Descriptors that a careless runtime leaves open, and standard descriptors that it does not open.

use std::fs::File;
use std::io;
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use crate::Step;

/// Closes all descriptors except the standard ones.
pub fn close_inherited() -> Result<(), String> {
    // SAFETY: takes numbers only; nothing is open yet that anything here uses.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) }).step("--clean").map(drop)
}

/// Leaves `count` descriptors of various kinds open across the execve: the first at the highest number that the limit allows,
/// each other one at the lowest free number, as a leak does.
pub fn open_junk(count: usize) -> Result<(), String> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).step("--open-junk")?;
    let highest = RawFd::try_from(limit.saturating_sub(1)).unwrap_or(RawFd::MAX);
    for index in 0..count {
        let number = junk(index).step("--open-junk")?;
        let number = if index == 0 { move_to(number, highest).step("--open-junk")? } else { number };
        // SAFETY: takes no pointer. Rust opens everything close-on-exec.
        Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }).step("--open-junk")?;
    }
    Ok(())
}

/// The directory comes first: an open `/` is the leak that leads out of a container.
fn junk(index: usize) -> io::Result<RawFd> {
    match index % 5 {
        0 => Ok(File::open("/")?.into_raw_fd()),
        1 => Ok(File::open("/proc/self/status")?.into_raw_fd()),
        2 => Ok(UnixStream::pair()?.0.into_raw_fd()),
        3 => Ok(io::pipe()?.0.into_raw_fd()),
        _ => Ok(File::options().read(true).write(true).open("/dev/null")?.into_raw_fd()),
    }
}

fn move_to(number: RawFd, target: RawFd) -> io::Result<RawFd> {
    // SAFETY: takes no pointer; nothing else in this process uses either number.
    let moved = unsafe { libc::dup2(number, target) };
    if moved < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `number` was just released by its owner, and nothing else uses it.
    unsafe { libc::close(number) };
    Ok(moved)
}

/// Closes these descriptors. A descriptor that is not open counts as closed.
pub fn close(numbers: &[RawFd]) {
    for number in numbers {
        // SAFETY: the execve follows at once; nothing in this process uses a descriptor any more.
        unsafe { libc::close(*number) };
    }
}
