//! The system calls of the process that stays after a start. A supervisor waits, passes signals on, reaps, and writes lines of the log;
//! it opens nothing. A keeper also writes later sets of files.
#![forbid(unsafe_code)]

use libc::c_long;
use nix::unistd::{Pid, getpid};

use super::worker::READING;
use crate::cage::seccomp::{ALL, Profile, Rule, Test, high, low};
use crate::sys::capabilities::{CHOWN, SETGID, bit};

impl Profile {
    /// The profile of the supervisor of an app. `app` is the number of its process and of its process group.
    pub fn of_supervisor(app: Pid) -> Self {
        Self::beside(app.as_raw(), getpid().as_raw())
    }

    /// The profile of a supervisor that also writes later sets of files, with these capabilities, and has a worker.
    pub fn of_keeping_supervisor(app: Pid, worker: Pid, capabilities: u64) -> Self {
        Self::keeping(app.as_raw(), getpid().as_raw(), worker.as_raw(), capabilities)
    }

    /// The profile of a keeper without an app.
    pub fn of_keeper(worker: Pid, capabilities: u64) -> Self {
        let mut profile = Self::staying();
        profile.keep_files(worker.as_raw(), capabilities);
        profile
    }

    pub(super) fn keeping(app: i32, own: i32, worker: i32, capabilities: u64) -> Self {
        let mut profile = Self::beside(app, own);
        profile.keep_files(worker, capabilities);
        profile
    }

    fn keep_files(&mut self, worker: i32, capabilities: u64) {
        self.allow(KEEPING);
        self.allow(KEEPING_OLD);
        self.allow_where(KEEPING_RULES);
        let worker = [worker.cast_unsigned()];
        self.allow_where(&[Rule(
            libc::SYS_kill,
            &[Test::OneOf(low(0), ALL, &worker), Test::OneOf(low(1), ALL, &[libc::SIGKILL as u32])],
        )]);
        if capabilities & bit(CHOWN) != 0 {
            self.allow(&[libc::SYS_fchown, libc::SYS_fchownat]);
        }
        if capabilities & bit(SETGID) != 0 {
            self.allow(&[libc::SYS_setfsgid]);
        }
    }

    fn staying() -> Self {
        let mut profile = Self::default();
        profile.allow(ALLOWED);
        profile.allow(ALLOWED_OLD);
        profile.allow_where(RULES);
        profile
    }

    pub(super) fn beside(app: i32, own: i32) -> Self {
        const OWN_GROUP: i32 = 0;
        let mut profile = Self::staying();
        profile.allow_where(TERMINAL);
        let targets = [app, -app, own, OWN_GROUP].map(i32::cast_unsigned);
        profile.allow_where(&[
            Rule(libc::SYS_kill, &[Test::OneOf(low(0), ALL, &targets)]),
            Rule(libc::SYS_rt_sigqueueinfo, &[Test::OneOf(low(0), ALL, &targets[..1])]),
        ]);
        profile
    }
}

/// Calls that are allowed with any arguments.
pub(super) const ALLOWED: &[c_long] = &[
    // Signals that arrive, and lines of the log.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_signalfd4,
    // Wait for signals and for children.
    libc::SYS_ppoll,
    libc::SYS_wait4,
    libc::SYS_restart_syscall,
    // The own mask, for a stop together with the app.
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    // The own memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Time, where there is no vDSO.
    libc::SYS_clock_gettime,
    libc::SYS_getpid,
    // The end.
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Older calls for the same purposes, which only x86_64 still has.
#[cfg(target_arch = "x86_64")]
pub(super) const ALLOWED_OLD: &[c_long] = &[libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const ALLOWED_OLD: &[c_long] = &[];

/// Calls of a supervisor that keeps files fresh. Descriptors of directories say where, which no filter can read.
pub(super) const KEEPING: &[c_long] = &[
    // A set of files, written where nobody else can enter, and published by renames.
    libc::SYS_mkdirat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    // Look at files.
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    // ACLs, which no file of ours may have.
    libc::SYS_fgetxattr,
    libc::SYS_fremovexattr,
    // What the worker sends.
    libc::SYS_recvfrom,
    // The termination log, open since before: its line replaces what is there.
    libc::SYS_ftruncate,
    // The alarm, and short waits.
    libc::SYS_timerfd_settime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_getrandom,
];

/// Older calls for the same purposes, which only x86_64 still has.
#[cfg(target_arch = "x86_64")]
pub(super) const KEEPING_OLD: &[c_long] = &[libc::SYS_stat, libc::SYS_lstat, libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const KEEPING_OLD: &[c_long] = &[];

/// The flags with which a file is made: a new one, and through no link.
const MAKING: u32 = (libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC) as u32;

/// Calls of a supervisor that keeps files fresh, by their arguments: files are read, or made, and none that is there is written.
const KEEPING_RULES: &[Rule<'_>] = &[
    Rule(libc::SYS_openat, &[Test::OneOf(low(2), !READING, &[0])]),
    Rule(
        libc::SYS_openat,
        &[
            Test::OneOf(low(2), MAKING, &[MAKING]),
            Test::OneOf(low(2), !(MAKING | READING | libc::O_ACCMODE as u32), &[0]),
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    Rule(libc::SYS_open, &[Test::OneOf(low(1), !READING, &[0])]),
    // No set-id bits.
    Rule(libc::SYS_fchmod, &[Test::OneOf(low(1), libc::S_ISUID | libc::S_ISGID, &[0])]),
    Rule(libc::SYS_fcntl, &[Test::OneOf(low(1), ALL, &[libc::F_SETFD as u32])]),
    // Each change of the group for files makes this process readable, which is taken back at once.
    Rule(libc::SYS_prctl, &[Test::OneOf(low(0), ALL, &[libc::PR_GET_DUMPABLE as u32])]),
    Rule(
        libc::SYS_prctl,
        &[
            Test::OneOf(low(0), ALL, &[libc::PR_SET_DUMPABLE as u32]),
            Test::OneOf(low(1), ALL, &[0]),
            Test::OneOf(high(1), ALL, &[0]),
        ],
    ),
];

/// Who stands in front of the terminal.
const TERMINAL: &[Rule<'_>] =
    &[Rule(libc::SYS_ioctl, &[Test::OneOf(low(1), ALL, &[libc::TIOCGPGRP as u32, libc::TIOCSPGRP as u32])])];

/// Calls that are allowed or refused by their arguments.
const RULES: &[Rule<'_>] = &[
    Rule(libc::SYS_fcntl, &[Test::OneOf(low(1), ALL, &[libc::F_GETFD as u32, libc::F_GETFL as u32])]),
    // Neither call may make memory executable: no new code.
    Rule(libc::SYS_mmap, &[Test::OneOf(low(2), libc::PROT_EXEC as u32, &[0])]),
    Rule(libc::SYS_mprotect, &[Test::OneOf(low(2), libc::PROT_EXEC as u32, &[0])]),
];
