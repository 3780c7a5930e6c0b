//! A filter that makes chosen system calls fail, like a runtime's profile or an old kernel.

use std::io;

use crate::Step;
use crate::identity::may_filter;
use crate::options::Options;

/// Each name that `--deny` accepts, with its system call and (for prctl) the first argument.
const CALLS: &[(&str, libc::c_long, Option<libc::c_int>)] = &[
    ("capset", libc::SYS_capset, None),
    ("clone3", libc::SYS_clone3, None),
    ("close_range", libc::SYS_close_range, None),
    ("fchown", libc::SYS_fchown, None),
    ("fchownat", libc::SYS_fchownat, None),
    ("fsopen", libc::SYS_fsopen, None),
    ("getrandom", libc::SYS_getrandom, None),
    ("landlock_add_rule", libc::SYS_landlock_add_rule, None),
    ("landlock_create_ruleset", libc::SYS_landlock_create_ruleset, None),
    ("landlock_restrict_self", libc::SYS_landlock_restrict_self, None),
    ("chdir", libc::SYS_chdir, None),
    ("setpgid", libc::SYS_setpgid, None),
    ("memfd_create", libc::SYS_memfd_create, None),
    ("mount", libc::SYS_mount, None),
    ("openat2", libc::SYS_openat2, None),
    ("pidfd_open", libc::SYS_pidfd_open, None),
    ("prlimit64", libc::SYS_prlimit64, None),
    ("renameat2", libc::SYS_renameat2, None),
    ("seccomp", libc::SYS_seccomp, None),
    ("setfsgid", libc::SYS_setfsgid, None),
    ("setgroups", libc::SYS_setgroups, None),
    ("setresgid", libc::SYS_setresgid, None),
    ("setresuid", libc::SYS_setresuid, None),
    ("socketpair", libc::SYS_socketpair, None),
    ("unshare", libc::SYS_unshare, None),
    ("prctl-ambient", libc::SYS_prctl, Some(libc::PR_CAP_AMBIENT)),
    ("prctl-bounding", libc::SYS_prctl, Some(libc::PR_CAPBSET_DROP)),
    ("prctl-dumpable", libc::SYS_prctl, Some(libc::PR_SET_DUMPABLE)),
    ("prctl-keepcaps", libc::SYS_prctl, Some(libc::PR_SET_KEEPCAPS)),
    ("prctl-no_new_privs", libc::SYS_prctl, Some(libc::PR_SET_NO_NEW_PRIVS)),
    ("prctl-pdeathsig", libc::SYS_prctl, Some(libc::PR_SET_PDEATHSIG)),
    ("prctl-seccomp", libc::SYS_prctl, Some(libc::PR_SET_SECCOMP)),
    ("prctl-subreaper", libc::SYS_prctl, Some(libc::PR_SET_CHILD_SUBREAPER)),
    ("prctl-securebits", libc::SYS_prctl, Some(libc::PR_SET_SECUREBITS)),
];

/// A system call that must fail.
pub struct Denial {
    call: libc::c_long,
    argument: Option<libc::c_int>,
    error: libc::c_int,
}

impl Denial {
    /// Parses `NAME=ERRNO`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, error) = text.split_once('=').ok_or("--deny NAME=ERRNO")?;
        let &(_, call, argument) =
            CALLS.iter().find(|(known, ..)| *known == name).ok_or_else(|| format!("--deny: unknown call {name}"))?;
        let error = match error {
            // The call reports success but does nothing. Only a read-back detects this.
            "0" => 0,
            "EPERM" => libc::EPERM,
            "ENOSYS" => libc::ENOSYS,
            "EACCES" => libc::EACCES,
            "EINVAL" => libc::EINVAL,
            "EAGAIN" => libc::EAGAIN,
            "ENOMEM" => libc::ENOMEM,
            "EMFILE" => libc::EMFILE,
            "ENOSPC" => libc::ENOSPC,
            _ => return Err(format!("--deny: unknown error {error}")),
        };
        Ok(Self { call, argument, error })
    }

    fn filter(&self) -> Vec<libc::sock_filter> {
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let refuse = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | self.error.cast_unsigned());
        let call = u32::try_from(self.call).unwrap_or(u32::MAX);
        match self.argument {
            None => vec![jump(equal, call, 0, 1), refuse],
            Some(argument) => vec![
                jump(equal, call, 0, 4),
                statement(LOAD, FIRST_ARGUMENT),
                jump(equal, argument.cast_unsigned(), 0, 1),
                refuse,
                // The accumulator now holds the argument, so load the number again for the next denial.
                statement(LOAD, NUMBER),
            ],
        }
    }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
/// Offsets in `struct seccomp_data`. For the first argument, this is the low half on little-endian machines.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

/// Installs the filter. `settle` is the last step that uses capabilities. It runs after the installation if possible: without
/// CAP_SYS_ADMIN, the installation requires no_new_privs, which is part of the start state.
pub fn install(options: &Options, settle: impl Fn() -> Result<(), String>) -> Result<(), String> {
    if options.deny.is_empty() {
        return settle();
    }
    if may_filter() && options.deny.iter().all(|denial| denial.call != libc::SYS_capset) {
        load(&options.deny).step("--deny")?;
        return settle();
    }
    settle()?;
    if !may_filter() {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    }
    load(&options.deny).step("--deny")
}

fn load(denials: &[Denial]) -> io::Result<()> {
    let mut filter = vec![statement(LOAD, NUMBER)];
    filter.extend(denials.iter().flat_map(Denial::filter));
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points to `length` instructions, which live until the call has copied them.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn statement(code: u32, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

fn jump(code: u32, value: u32, on_true: u8, on_false: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: on_true, jf: on_false, k: value }
}
