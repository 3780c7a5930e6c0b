//! A process, sockets and shared memory of other owners, as targets of attacks. Drop removes all of them.

use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use nix::errno::Errno;

/// The name of the abstract socket.
pub const ABSTRACT: &str = "handfast-inject";

/// The targets.
pub struct Victim {
    /// An idle process with the worker's ids.
    pub process: libc::pid_t,
    /// The port of a server on 127.0.0.1.
    pub port: u16,
    /// System V shared memory that everybody may read and write.
    pub memory: i32,
    _server: TcpListener,
    _socket: UnixListener,
    _abstract: UnixListener,
}

impl Victim {
    /// Creates the targets, with a socket at this path.
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
        // SAFETY: the process is a child that nobody has waited for yet, so the number still names it.
        unsafe { libc::kill(self.process, libc::SIGKILL) };
        // SAFETY: the request takes no data.
        unsafe { libc::shmctl(self.memory, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

fn idle(uid: u32, gid: u32) -> io::Result<libc::pid_t> {
    // SAFETY: the child makes only the system calls below, so locks that other threads held at the fork do not matter.
    match Errno::result(unsafe { libc::fork() })? {
        0 => {
            // SAFETY: it takes numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            // SAFETY: the list of groups is empty, so nothing is read.
            unsafe { libc::setgroups(0, std::ptr::null()) };
            // SAFETY: it takes numbers.
            unsafe { libc::setresgid(gid, gid, gid) };
            // SAFETY: it takes numbers.
            unsafe { libc::setresuid(uid, uid, uid) };
            loop {
                // SAFETY: it takes no arguments.
                unsafe { libc::pause() };
            }
        }
        child => Ok(child),
    }
}
