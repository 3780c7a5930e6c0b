//! The system calls of a worker that talks to stores: those that a fetch needs, and no others.
//!
//! The lists hold the calls that `strace` shows for the fetches of every provider, with musl and with glibc, and the few that it
//! cannot show.
#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use handfast_core::Sockets;
use libc::c_long;

use crate::cage::seccomp::{ALL, Profile, Rule, Test, high, low};

impl Profile {
    /// The profile of a worker whose providers need these sockets. Only `socket`, its end of the socketpair, stays open besides
    /// its log. This socket must not be bound to an address, which would make a file, or be duplicated.
    pub fn of_worker(socket: &UnixStream, needed: Sockets) -> Self {
        Self::around(socket.as_raw_fd(), needed)
    }

    /// Allows an alarm, for a worker that lives on.
    pub fn with_alarm(mut self) -> Self {
        self.allow_where(ALARM);
        self
    }

    /// Allows inotify, for a worker that watches local files. It tells the worker only about files that the worker may read.
    pub fn with_inotify(mut self) -> Self {
        self.allow(INOTIFY);
        self
    }

    /// Allows connections to this listener, which stays open. The filter allows no other listener.
    pub fn with_listener(self, listener: &impl AsRawFd) -> Self {
        self.listening(listener.as_raw_fd())
    }

    pub(super) fn listening(mut self, listener: RawFd) -> Self {
        self.keep_open.push(listener);
        self.allow_where(&[Rule(libc::SYS_accept4, &[Test::OneOf(low(0), ALL, &[listener.cast_unsigned()])])]);
        self
    }

    pub(super) fn around(socket: RawFd, needed: Sockets) -> Self {
        let other_than_its_socket = Test::Not(low(0), socket.cast_unsigned());
        let duplicates = Test::OneOf(low(1), ALL, &[libc::F_DUPFD_CLOEXEC as u32]);
        let mut profile = Self::default();
        profile.keep_open.push(socket);
        profile.allow(ALLOWED);
        profile.allow(ALLOWED_OLD);
        profile.allow_where(RULES);
        profile.allow_where(&[Rule(libc::SYS_fcntl, &[duplicates, other_than_its_socket])]);
        if needed.unix {
            profile.allow_where(&[UNIX_SOCKET]);
        }
        // Host names are needed unless every store is behind a Unix socket: the C library's resolver binds its UDP socket. `bind`
        // is refused otherwise, since a bound Unix socket is a file.
        if needed.internet || !needed.unix {
            profile.allow_where(&[Rule(libc::SYS_bind, &[other_than_its_socket])]);
        }
        // A filter cannot read clone3's flags, which are in memory. If clone3 is absent, the C libraries use clone.
        profile.be_absent(libc::SYS_clone3);
        profile
    }
}

/// Calls that are allowed with any arguments: they change only the worker's own memory, threads and descriptors.
pub(super) const ALLOWED: &[c_long] = &[
    // Read and write open descriptors. Files are opened read-only, see RULES.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    // Look at files.
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    // Wait.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    // The kernel makes a process call this after SIGSTOP and SIGCONT, in place of an interrupted poll, nanosleep or futex.
    libc::SYS_restart_syscall,
    // The network. RULES says which sockets can be made.
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    // The worker's memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // The worker's threads.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // The worker's identity, for messages.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    // The worker's own signal handlers and mask.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time, where there is no vDSO, and random numbers.
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    // The host name, which glibc's resolver asks for.
    libc::SYS_uname,
];

/// Older calls for the same purposes, which only x86_64 still has.
#[cfg(target_arch = "x86_64")]
pub(super) const ALLOWED_OLD: &[c_long] =
    &[libc::SYS_stat, libc::SYS_lstat, libc::SYS_readlink, libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const ALLOWED_OLD: &[c_long] = &[];

/// The flags with which a file may be opened: for reading. O_LARGEFILE is 0 in some C libraries; the others set it.
pub(super) const READING: u32 = (libc::O_RDONLY
    | libc::O_CLOEXEC
    | libc::O_DIRECTORY
    | libc::O_NOCTTY
    | libc::O_NOFOLLOW
    | libc::O_NONBLOCK
    | libc::O_PATH) as u32
    | LARGE_FILE;
#[cfg(target_arch = "x86_64")]
const LARGE_FILE: u32 = 0o100_000;
#[cfg(target_arch = "aarch64")]
const LARGE_FILE: u32 = 0o400_000;

/// The flags that `fcntl(F_SETFL)` may set: none that sends signals. The access mode is allowed because `F_SETFL` ignores it.
const STATUS: u32 = (libc::O_NONBLOCK | libc::O_ACCMODE) as u32 | LARGE_FILE;

const SOCKET_FLAGS: u32 = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32;
const STREAM: u32 = libc::SOCK_STREAM as u32;
const DATAGRAM: u32 = libc::SOCK_DGRAM as u32;

/// The flags with which the C libraries make a thread. CLONE_THREAD is required: a new process would outlive the worker.
pub(super) const THREAD: u32 = libc::CLONE_THREAD as u32;
pub(super) const THREAD_FLAGS: u32 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_DETACHED) as u32;

/// Calls that are allowed or refused by their arguments.
const RULES: &[Rule<'_>] = &[
    Rule(libc::SYS_openat, &[Test::OneOf(low(2), !READING, &[0])]),
    #[cfg(target_arch = "x86_64")]
    Rule(libc::SYS_open, &[Test::OneOf(low(1), !READING, &[0])]),
    Rule(
        libc::SYS_fcntl,
        &[Test::OneOf(low(1), ALL, &[libc::F_GETFD as u32, libc::F_SETFD as u32, libc::F_GETFL as u32])],
    ),
    Rule(libc::SYS_fcntl, &[Test::OneOf(low(1), ALL, &[libc::F_SETFL as u32]), Test::OneOf(low(2), !STATUS, &[0])]),
    Rule(libc::SYS_ioctl, &[Test::OneOf(low(1), ALL, &[libc::FIONBIO as u32, libc::FIONREAD as u32])]),
    Rule(
        libc::SYS_socket,
        &[
            Test::OneOf(low(0), ALL, &[libc::AF_INET as u32, libc::AF_INET6 as u32]),
            Test::OneOf(low(1), !SOCKET_FLAGS, &[STREAM, DATAGRAM]),
            Test::OneOf(low(2), ALL, &[0, libc::IPPROTO_TCP as u32, libc::IPPROTO_UDP as u32]),
        ],
    ),
    Rule(
        libc::SYS_setsockopt,
        &[Test::OneOf(low(1), ALL, &[libc::SOL_SOCKET as u32]), Test::OneOf(low(2), ALL, &[libc::SO_KEEPALIVE as u32])],
    ),
    Rule(
        libc::SYS_setsockopt,
        &[
            Test::OneOf(low(1), ALL, &[libc::SOL_TCP as u32]),
            Test::OneOf(
                low(2),
                ALL,
                &[
                    libc::TCP_NODELAY as u32,
                    libc::TCP_KEEPIDLE as u32,
                    libc::TCP_KEEPINTVL as u32,
                    libc::TCP_KEEPCNT as u32,
                    libc::TCP_USER_TIMEOUT as u32,
                    libc::TCP_FASTOPEN_CONNECT as u32,
                ],
            ),
        ],
    ),
    Rule(
        libc::SYS_setsockopt,
        &[Test::OneOf(low(1), ALL, &[libc::SOL_IP as u32]), Test::OneOf(low(2), ALL, &[libc::IP_RECVERR as u32])],
    ),
    Rule(
        libc::SYS_setsockopt,
        &[
            Test::OneOf(low(1), ALL, &[libc::SOL_IPV6 as u32]),
            Test::OneOf(low(2), ALL, &[libc::IPV6_V6ONLY as u32, libc::IPV6_RECVERR as u32]),
        ],
    ),
    // Neither call may make memory executable: no new code.
    Rule(libc::SYS_mmap, &[Test::OneOf(low(2), libc::PROT_EXEC as u32, &[0])]),
    Rule(libc::SYS_mprotect, &[Test::OneOf(low(2), libc::PROT_EXEC as u32, &[0])]),
    Rule(libc::SYS_clone, &[Test::OneOf(low(0), !THREAD_FLAGS, &[0]), Test::OneOf(low(0), THREAD, &[THREAD])]),
    // Wait for a thread and wake it. The operations with priority inheritance (PI) are refused: they take any thread's number.
    Rule(
        libc::SYS_futex,
        &[Test::OneOf(
            low(1),
            !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) as u32,
            &[
                libc::FUTEX_WAIT as u32,
                libc::FUTEX_WAKE as u32,
                libc::FUTEX_REQUEUE as u32,
                libc::FUTEX_CMP_REQUEUE as u32,
                libc::FUTEX_WAKE_OP as u32,
                libc::FUTEX_WAIT_BITSET as u32,
                libc::FUTEX_WAKE_BITSET as u32,
            ],
        )],
    ),
    // Set a thread's name.
    Rule(libc::SYS_prctl, &[Test::OneOf(low(0), ALL, &[libc::PR_SET_NAME as u32])]),
    // Read the process' own limits.
    Rule(
        libc::SYS_prlimit64,
        &[Test::OneOf(low(0), ALL, &[0]), Test::OneOf(low(2), ALL, &[0]), Test::OneOf(high(2), ALL, &[0])],
    ),
];

/// A stream to a Unix socket, if the profile allows it.
const UNIX_SOCKET: Rule<'_> = Rule(
    libc::SYS_socket,
    &[
        Test::OneOf(low(0), ALL, &[libc::AF_UNIX as u32]),
        Test::OneOf(low(1), !SOCKET_FLAGS, &[STREAM]),
        Test::OneOf(low(2), ALL, &[0]),
    ],
);

/// An alarm. Timers on this clock wake no machine.
const ALARM: &[Rule<'_>] = &[
    Rule(libc::SYS_timerfd_create, &[Test::OneOf(low(0), ALL, &[libc::CLOCK_BOOTTIME as u32])]),
    Rule(libc::SYS_timerfd_settime, &[]),
];

/// News of changes in directories that the worker may read.
pub(super) const INOTIFY: &[c_long] =
    &[libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch];
