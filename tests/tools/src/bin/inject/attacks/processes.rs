//! Attacks on processes: the worker cannot create, signal, read, schedule or limit another process, and cannot change its own
//! attributes, so it ends with its parent.

use super::{Call, FIRST, Must, Table, Targets};

const HERE: i64 = libc::AT_FDCWD as i64;
/// Bits that the kernel ignores in an argument of type `int`.
const HIGH: i64 = 1 << 32;
const TERM: i64 = libc::SIGTERM as i64;

pub fn add(table: &mut Table, on: &Targets) {
    others(table, on);
    scheduling(table, on);
    new_ones(table, on);
    itself(table, on);
}

/// Tries each call on the parent and on a process that nobody traces. No signal ends its target.
fn others(table: &mut Table, on: &Targets) {
    let local = table.words(&[on.scratch, 8]);
    let file: (i64, &[i64]) = (libc::SYS_openat, &[HERE, on.file, 0]);
    for (whose, process) in [("the_parent", on.parent), ("another", on.victim), ("process_1", 1)] {
        let calls: [(&str, i64, &[i64]); 14] = [
            ("kill", libc::SYS_kill, &[process, 0]),
            ("tkill", libc::SYS_tkill, &[process, 0]),
            ("tgkill", libc::SYS_tgkill, &[process, process, 0]),
            ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, &[process, 0, on.scratch]),
            ("rt_tgsigqueueinfo", libc::SYS_rt_tgsigqueueinfo, &[process, process, 0, on.scratch]),
            ("pidfd_open", libc::SYS_pidfd_open, &[process, 0]),
            ("ptrace", libc::SYS_ptrace, &[libc::PTRACE_SEIZE as i64, process, 0, 0]),
            ("process_vm_readv", libc::SYS_process_vm_readv, &[process, local, 1, local, 1, 0]),
            ("process_vm_writev", libc::SYS_process_vm_writev, &[process, local, 1, local, 1, 0]),
            ("kcmp", libc::SYS_kcmp, &[process, on.own, 0, 0, 0]),
            ("move_pages", libc::SYS_move_pages, &[process, 0, 0, 0, 0, 0]),
            ("migrate_pages", libc::SYS_migrate_pages, &[process, 8, on.scratch, on.scratch]),
            ("get_robust_list", libc::SYS_get_robust_list, &[process, on.scratch, on.scratch]),
            ("setpgid", libc::SYS_setpgid, &[process, 0]),
        ];
        for (name, number, arguments) in calls {
            table.refuse(&[(&format!("{name}_of_{whose}"), number, arguments)]);
        }
    }
    table.refuse(&[("kill_of_all", libc::SYS_kill, &[-1, 0]), ("kill_of_its_group", libc::SYS_kill, &[0, 0])]);
    // On a file, these calls end with EBADF if they reach the kernel.
    table.refuse_after(
        &[file],
        &[
            ("pidfd_send_signal", libc::SYS_pidfd_send_signal, &[FIRST, TERM, 0, 0]),
            ("pidfd_getfd", libc::SYS_pidfd_getfd, &[FIRST, 2, 0]),
            ("process_madvise", libc::SYS_process_madvise, &[FIRST, local, 1, 4, 0]),
            ("process_mrelease", libc::SYS_process_mrelease, &[FIRST, 0]),
        ],
    );
}

/// Calls that a process may use on another process of the same uid without any capability.
fn scheduling(table: &mut Table, on: &Targets) {
    // CPU 0; SCHED_BATCH at priority 0, twice; 64 descriptors.
    let cpus = table.words(&[1]);
    let priority = table.words(&[0]);
    let attributes = table.words(&[48 | 3 << 32, 0, 0, 0, 0, 0]);
    let limit = table.words(&[64, 64]);
    let idle = 3 << 13;
    for (whose, process) in [("the_parent", on.parent), ("another", on.victim)] {
        let calls: [(&str, i64, &[i64]); 8] = [
            ("setpriority", libc::SYS_setpriority, &[0, process, 5]),
            ("sched_setaffinity", libc::SYS_sched_setaffinity, &[process, 8, cpus]),
            ("sched_setscheduler", libc::SYS_sched_setscheduler, &[process, 3, priority]),
            ("sched_setparam", libc::SYS_sched_setparam, &[process, priority]),
            ("sched_setattr", libc::SYS_sched_setattr, &[process, attributes, 0]),
            ("ioprio_set", libc::SYS_ioprio_set, &[1, process, idle]),
            ("prlimit64", libc::SYS_prlimit64, &[process, libc::RLIMIT_NOFILE as i64, limit, 0]),
            ("prlimit64_to_read", libc::SYS_prlimit64, &[process, libc::RLIMIT_NOFILE as i64, 0, on.scratch]),
        ];
        for (name, number, arguments) in calls {
            table.refuse(&[(&format!("{name}_of_{whose}"), number, arguments)]);
        }
    }
    let cookie = libc::c_long::from(62);
    table.refuse(&[
        ("setpriority_of_its_group", libc::SYS_setpriority, &[1, 0, 5]),
        ("ioprio_set_of_its_group", libc::SYS_ioprio_set, &[2, 0, idle]),
        ("ioprio_set_of_its_user", libc::SYS_ioprio_set, &[3, on.uid, 2 << 13 | 4]),
        // PR_SCHED_CORE: a separate cookie for the parent.
        ("a_core_of_the_parent", libc::SYS_prctl, &[cookie, 1, on.parent, 0, 0]),
    ]);
}

fn new_ones(table: &mut Table, on: &Targets) {
    let none = table.words(&[0]);
    let arguments = table.words(&[on.program, 0]);
    let clone_arguments = table.words(&[0, 0, 0, 0, libc::SIGCHLD.into(), 0, 0, 0]);
    let nothing = table.text("");
    let name = table.text("memory");
    table.refuse(&[
        ("execve", libc::SYS_execve, &[on.program, arguments, none]),
        ("execveat", libc::SYS_execveat, &[HERE, on.program, arguments, none, 0]),
        ("clone", libc::SYS_clone, &[libc::SIGCHLD.into(), 0, 0, 0, 0]),
        ("clone_with_a_high_half", libc::SYS_clone, &[libc::SIGCHLD as i64 | HIGH, 0, 0, 0, 0]),
        ("clone_of_a_sibling", libc::SYS_clone, &[libc::CLONE_PARENT as i64 | libc::SIGCHLD as i64, 0, 0, 0, 0]),
        ("clone_into_a_namespace", libc::SYS_clone, &[libc::CLONE_NEWUSER as i64 | libc::SIGCHLD as i64, 0, 0, 0, 0]),
    ]);
    let execute: (&str, i64, &[i64]) =
        ("executing_memory", libc::SYS_execveat, &[FIRST, nothing, arguments, none, libc::AT_EMPTY_PATH.into()]);
    table.refuse_after(&[(libc::SYS_memfd_create, &[name, 0])], &[execute]);
    table.add(Must::BeUnknown, "clone3", vec![Call(libc::SYS_clone3, vec![clone_arguments, 64])]);
    #[cfg(target_arch = "x86_64")]
    table.refuse(&[
        ("fork", libc::SYS_fork, &[]),
        ("vfork", libc::SYS_vfork, &[]),
        ("uselib", libc::SYS_uselib, &[on.program]),
    ]);
}

fn itself(table: &mut Table, on: &Targets) {
    let (uid, scratch) = (on.uid, on.scratch);
    let options: [(&str, i64, i64); 12] = [
        ("pr_set_pdeathsig", libc::PR_SET_PDEATHSIG.into(), 0),
        ("pr_set_pdeathsig_with_a_high_half", libc::PR_SET_PDEATHSIG as i64 | HIGH, 0),
        ("pr_set_dumpable", libc::PR_SET_DUMPABLE.into(), 1),
        ("pr_set_keepcaps", libc::PR_SET_KEEPCAPS.into(), 1),
        ("pr_set_securebits", libc::PR_SET_SECUREBITS.into(), 0),
        ("pr_set_mm", libc::PR_SET_MM.into(), 8),
        ("pr_set_ptracer", libc::PR_SET_PTRACER.into(), -1),
        ("pr_set_child_subreaper", libc::PR_SET_CHILD_SUBREAPER.into(), 1),
        ("pr_capbset_drop", libc::PR_CAPBSET_DROP.into(), 0),
        ("pr_cap_ambient", libc::PR_CAP_AMBIENT.into(), 4),
        ("pr_set_seccomp", libc::PR_SET_SECCOMP.into(), 2),
        ("pr_set_io_flusher", 57, 1),
    ];
    for (name, option, value) in options {
        table.refuse(&[(name, libc::SYS_prctl, &[option, value, 0, 0, 0])]);
    }
    // Version 3, this process, no capability.
    let header = table.words(&[0x2008_0522]);
    table.refuse(&[
        ("setsid", libc::SYS_setsid, &[]),
        ("setpgid", libc::SYS_setpgid, &[0, 0]),
        ("setuid", libc::SYS_setuid, &[uid]),
        ("setreuid", libc::SYS_setreuid, &[uid, uid]),
        ("setresuid", libc::SYS_setresuid, &[uid, uid, uid]),
        ("setfsuid", libc::SYS_setfsuid, &[uid]),
        ("setgid", libc::SYS_setgid, &[uid]),
        ("setregid", libc::SYS_setregid, &[-1, -1]),
        ("setresgid", libc::SYS_setresgid, &[-1, -1, -1]),
        ("setfsgid", libc::SYS_setfsgid, &[uid]),
        ("setgroups", libc::SYS_setgroups, &[0, 0]),
        ("capset", libc::SYS_capset, &[header, scratch]),
        ("personality", libc::SYS_personality, &[0]),
    ]);
    memory(table);
}

/// Attacks that run new code: the worker executes only handfast's code.
fn memory(table: &mut Table) {
    let executable = i64::from(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    let anonymous = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let writable = i64::from(libc::PROT_READ | libc::PROT_WRITE);
    let later = i64::from(libc::PROT_READ | libc::PROT_EXEC);
    let map: (i64, &[i64]) = (libc::SYS_mmap, &[0, 4096, writable, anonymous, -1, 0]);
    table.refuse(&[("memory_to_execute", libc::SYS_mmap, &[0, 4096, executable, anonymous, -1, 0])]);
    table.refuse_after(
        &[map],
        &[
            ("memory_to_execute_later", libc::SYS_mprotect, &[FIRST, 4096, later]),
            ("memory_to_execute_by_key", libc::SYS_pkey_mprotect, &[FIRST, 4096, later, -1]),
        ],
    );
}
