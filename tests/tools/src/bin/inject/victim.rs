//! A process, a socket and shared memory of others, to be attacked. All are gone when this is dropped.

use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use nix::errno::Errno;

/// The name of the abstract socket.
pub const ABSTRACT: &str = "handfast-inject";

/// What there is.
pub struct Victim {
    /// A process with the worker's ids that does nothing.
    pub process: libc::pid_t,
    /// The port of a server on 127.0.0.1.
    pub port: u16,
    /// System V shared memory that everybody may read.
    pub memory: i32,
    _server: TcpListener,
    _socket: UnixListener,
    _abstract: UnixListener,
}

impl Victim {
    /// With a socket at this path.
    pub fn new(uid: u32, gid: u32, socket: &str) -> io::Result<Self> {
        let server = TcpListener::bind("127.0.0.1:0")?;
        let name = SocketAddr::from_abstract_name(format!("{ABSTRACT}-{}", std::process::id()))?;
        // SAFETY: it takes numbers.
        let memory = Errno::result(unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o666) })?;
        Ok(Self {
            process: idle(uid, gid)?,
            port: server.local_addr()?.port(),
            memory,
            _server: server,
            _socket: UnixListener::bind(socket)?,
            _abstract: UnixListener::bind_addr(&name)?,
        })
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // SAFETY: the process is a child that nobody has waited for yet, so the number is still its.
        unsafe { libc::kill(self.process, libc::SIGKILL) };
        // SAFETY: nothing is given with the request.
        unsafe { libc::shmctl(self.memory, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

fn idle(uid: u32, gid: u32) -> io::Result<libc::pid_t> {
    // SAFETY: the child only makes the system calls below, whatever other threads held when it was forked.
    match Errno::result(unsafe { libc::fork() })? {
        0 => {
            // SAFETY: it takes numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            // SAFETY: no group is read from nowhere.
            unsafe { libc::setgroups(0, std::ptr::null()) };
            // SAFETY: it takes numbers.
            unsafe { libc::setresgid(gid, gid, gid) };
            // SAFETY: it takes numbers.
            unsafe { libc::setresuid(uid, uid, uid) };
            loop {
                // SAFETY: it takes nothing.
                unsafe { libc::pause() };
            }
        }
        child => Ok(child),
    }
}
