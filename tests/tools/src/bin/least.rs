//! `least SECRETS [ID] -- COMMAND…`: the smallest possible start with this number of secrets as descriptors.
//!
//! Makes only the system calls that every start needs: a child that ends at once, in place of the worker; a sealed memfd for
//! each secret, opened again read-only; with an ID, the drop of every privilege for this user; then it becomes COMMAND. It has
//! no configuration and no sandbox, and its only check is one read-back of the status. Exits with 99 if a step fails.

#![no_main]

use std::ffi::{CString, OsString, c_char, c_int};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, IntoRawFd};

use handfast_testtools::start::{arguments, fail, words};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown, setgroups, setresgid, setresuid};

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    match start(arguments) {
        Ok(never) => match never {},
        Err(why) => fail("least", &why),
    }
}

fn start(arguments: Vec<OsString>) -> Result<std::convert::Infallible, String> {
    let mut rest = arguments.into_iter();
    let mut numbers = Vec::new();
    for word in rest.by_ref().take_while(|word| word != "--") {
        numbers.push(word.to_str().and_then(|word| word.parse().ok()).ok_or("SECRETS and ID are numbers")?);
    }
    let (secrets, id) = match numbers[..] {
        [secrets] => (secrets, None),
        [secrets, id] => (secrets, Some(id)),
        _ => return Err("needs SECRETS [ID] -- COMMAND".into()),
    };
    let command = words(&mut rest)?;
    wait_for_a_child()
        .and_then(|()| deliver(secrets, id))
        .and_then(|()| id.map_or(Ok(()), drop_everything))
        .and_then(|()| become_it(&command))
        .map_err(|error| error.to_string())
}

fn wait_for_a_child() -> nix::Result<()> {
    // SAFETY: this process has one thread.
    match Errno::result(unsafe { libc::fork() })? {
        0 => {
            // SAFETY: it takes a number.
            unsafe { libc::_exit(0) }
        }
        child => nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None).map(drop),
    }
}

fn deliver(secrets: u32, group: Option<u32>) -> nix::Result<()> {
    let list = open("/proc/self/fd", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    for _ in 0..secrets {
        let mut memfd = File::from(memfd_create(c"secret", MFdFlags::MFD_ALLOW_SEALING)?);
        fchmod(&memfd, Mode::from_bits_truncate(0o440))?;
        if let Some(group) = group {
            fchown(&memfd, None, Some(Gid::from_raw(group)))?;
        }
        memfd.write_all(b"secret").map_err(|_| Errno::EIO)?;
        fcntl(&memfd, FcntlArg::F_ADD_SEALS(seals))?;
        let number = memfd.into_raw_fd();
        let reader = openat(&list, number.to_string().as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        // SAFETY: the number is the memfd's, which has no other owner any more: the app inherits it.
        Errno::result(unsafe { libc::dup3(reader.as_raw_fd(), number, 0) })?;
    }
    Ok(())
}

fn drop_everything(id: u32) -> nix::Result<()> {
    // Drop every capability up to the first number that the kernel does not know.
    for capability in 0.. {
        // SAFETY: it takes numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            break;
        }
    }
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

fn become_it(command: &[CString]) -> nix::Result<std::convert::Infallible> {
    nix::sys::prctl::set_no_new_privs()?;
    let status = std::fs::read("/proc/thread-self/status").map_err(|_| Errno::EIO)?;
    if status.is_empty() {
        return Err(Errno::EIO);
    }
    let program = command.first().ok_or(Errno::EINVAL)?;
    nix::unistd::execve(program, command, &[c"PATH=/bin"])
}
