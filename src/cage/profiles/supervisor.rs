//! The system calls of a supervisor: it waits, passes signals on, reaps, and writes lines of the log. It opens nothing.
#![forbid(unsafe_code)]

use libc::c_long;
use nix::unistd::{Pid, getpid};

use crate::cage::seccomp::{ALL, Profile, Rule, Test, low};

impl Profile {
    /// The profile of the supervisor of an app. `app` is the number of its process and of its process group.
    pub fn of_supervisor(app: Pid) -> Self {
        Self::beside(app.as_raw(), getpid().as_raw())
    }

    pub(super) fn beside(app: i32, own: i32) -> Self {
        const OWN_GROUP: i32 = 0;
        let mut profile = Self::default();
        profile.allow(ALLOWED);
        profile.allow(ALLOWED_OLD);
        profile.allow_where(RULES);
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

/// Calls that are allowed or refused by their arguments.
const RULES: &[Rule<'_>] = &[
    // Who stands in front of the terminal.
    Rule(libc::SYS_ioctl, &[Test::OneOf(low(1), ALL, &[libc::TIOCGPGRP as u32, libc::TIOCSPGRP as u32])]),
    Rule(libc::SYS_fcntl, &[Test::OneOf(low(1), ALL, &[libc::F_GETFD as u32, libc::F_GETFL as u32])]),
    // Neither call may make memory executable: no new code.
    Rule(libc::SYS_mmap, &[Test::OneOf(low(2), libc::PROT_EXEC as u32, &[0])]),
    Rule(libc::SYS_mprotect, &[Test::OneOf(low(2), libc::PROT_EXEC as u32, &[0])]),
];
