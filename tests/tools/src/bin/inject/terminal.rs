//! A pseudo-terminal as the command's standard error.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Both ends of the terminal.
pub struct Terminal {
    master: File,
    slave: File,
    drained: OnceCell<JoinHandle<()>>,
    /// The path of the terminal.
    pub path: String,
}

/// At least as large as any machine's `struct termios`.
type Settings = [u8; 64];

impl Terminal {
    /// Opens a new terminal that controls no process.
    pub fn open() -> io::Result<Self> {
        let (mut master, mut slave) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: both numbers are valid for the call; it gets no name and no settings, and returns none.
        let result = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
        Errno::result(result)?;
        // SAFETY: the call has just opened the descriptor, and nobody else owns it.
        let master = unsafe { OwnedFd::from_raw_fd(master) };
        // SAFETY: as above.
        let slave = unsafe { OwnedFd::from_raw_fd(slave) };
        let path = std::fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd()))?;
        let path = path.to_string_lossy().into_owned();
        Ok(Self { master: master.into(), slave: slave.into(), drained: OnceCell::new(), path })
    }

    /// Makes the terminal this process' standard error while `start` starts another process.
    pub fn during<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        let own = nix::unistd::dup(io::stderr())?;
        nix::unistd::dup2_stderr(&self.slave)?;
        let result = start();
        nix::unistd::dup2_stderr(&own)?;
        Ok(result)
    }

    /// Starts a thread that passes on the terminal's output.
    pub fn drain(&self) -> io::Result<()> {
        let mut master = self.master.try_clone()?;
        let drain = move || {
            let mut buffer = [0; 4096];
            // The end is reported as the error EIO: nobody has the terminal open any more.
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                let bytes: Vec<u8> = buffer[..length].iter().copied().filter(|byte| *byte != b'\r').collect();
                let _ = io::stderr().write_all(&bytes);
            }
        };
        self.drained.set(std::thread::spawn(drain)).map_err(|_| io::Error::other("it is drained already"))
    }

    /// Gives the terminal to a user, as a login does.
    pub fn belong_to(&self, uid: u32) -> io::Result<()> {
        std::os::unix::fs::fchown(&self.slave, Some(uid), None)
    }

    /// The state of the terminal that an attacker could have changed.
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

    /// Waits until all output is passed on, once no other process has the terminal open.
    pub fn close(self) {
        drop(self.slave);
        if let Some(drain) = self.drained.into_inner() {
            let _ = drain.join();
        }
    }
}
