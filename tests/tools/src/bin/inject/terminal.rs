//! A terminal of our own, as the command's standard error.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Both ends of it.
pub struct Terminal {
    master: File,
    slave: File,
    /// What it is called.
    pub path: String,
}

/// As large as any machine's `struct termios`.
type Settings = [u8; 64];

impl Terminal {
    /// A new one, which controls no process.
    pub fn open() -> io::Result<Self> {
        let (mut master, mut slave) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: both numbers are valid for the call; no name and no settings are asked for or given.
        let result = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
        Errno::result(result)?;
        // SAFETY: the call has just opened it, and nobody else owns it.
        let master = unsafe { OwnedFd::from_raw_fd(master) };
        // SAFETY: as above.
        let slave = unsafe { OwnedFd::from_raw_fd(slave) };
        let path = std::fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd()))?;
        Ok(Self { master: master.into(), slave: slave.into(), path: path.to_string_lossy().into_owned() })
    }

    /// Makes it this process' standard error while `start` starts another one.
    pub fn during<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        let own = nix::unistd::dup(io::stderr())?;
        nix::unistd::dup2_stderr(&self.slave)?;
        let result = start();
        nix::unistd::dup2_stderr(&own)?;
        Ok(result)
    }

    /// Passes on what is written to it, until the last one that has it open is gone.
    pub fn drain(&self) -> io::Result<JoinHandle<()>> {
        let mut master = self.master.try_clone()?;
        Ok(std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Its end is an error, EIO.
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                let bytes: Vec<u8> = buffer[..length].iter().copied().filter(|byte| *byte != b'\r').collect();
                let _ = io::stderr().write_all(&bytes);
            }
        }))
    }

    /// Gives it to a user, as a terminal belongs to whoever sits at it.
    pub fn belong_to(&self, uid: u32) -> io::Result<()> {
        std::os::unix::fs::fchown(&self.slave, Some(uid), None)
    }

    /// What an attacker could have changed of it.
    pub fn state(&self) -> String {
        let mut settings: Settings = [0; 64];
        let (mut discipline, mut exclusive) = (-1, -1);
        let slave = self.slave.as_raw_fd();
        // SAFETY: the kernel writes one `struct termios`, for which there is room.
        unsafe { libc::ioctl(slave, libc::TCGETS as _, settings.as_mut_ptr()) };
        // SAFETY: the kernel writes one number.
        unsafe { libc::ioctl(slave, libc::TIOCGETD as _, &raw mut discipline) };
        // SAFETY: as above.
        unsafe { libc::ioctl(slave, libc::TIOCGEXCL as _, &raw mut exclusive) };
        let flags = fcntl(&self.slave, FcntlArg::F_GETFL);
        let settings: String = settings.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("flags {flags:?} discipline {discipline} exclusive {exclusive} settings {settings}")
    }

    /// Lets go of it, so that whoever drains it comes to its end.
    pub fn close(self) {
        drop(self);
    }
}
