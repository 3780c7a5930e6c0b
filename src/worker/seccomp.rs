//! The worker's system call filter, as classic BPF (seccomp(2)).
//!
//! A deny list: what fetching never needs and an attacker would. Refused calls fail with EPERM, so that a library that merely
//! tries one goes on; a call of a foreign architecture ends the process.
#![forbid(unsafe_code)]

use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Calls that are refused whatever their arguments.
const REFUSED: &[libc::c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Signals to others, by every door but kill and tgkill, which are looked at below.
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Wide interfaces into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Keys, modules, kernels.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    // Modes, owners and attributes of files, of which Landlock knows nothing: a worker that keeps uid 0 owns root's.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_utimensat,
];

/// The same by the numbers that only x86_64 still has.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[libc::c_long] = &[];

// Newer than the C libraries' lists; the same on every architecture.
const FCHMODAT2: libc::c_long = 452;
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const FILE_SETATTR: libc::c_long = 469;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// Numbers from here on are x32's, a second table on the same architecture.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

// struct seccomp_data: where the number, the architecture and the low halves of two arguments stand (little endian).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// The filter for a process with this pid.
pub fn filter(pid: u32) -> Vec<sock_filter> {
    let mut program = vec![load(ARCHITECTURE), jump(BPF_JEQ, NATIVE, 1, 0), answer(KILL), load(NUMBER)];
    #[cfg(target_arch = "x86_64")]
    program.extend([jump(BPF_JGE, X32, 0, 1), answer(KILL)]);
    for number in REFUSED.iter().chain(REFUSED_OLD) {
        program.extend([jump(BPF_JEQ, *number as u32, 0, 1), answer(EPERM)]);
    }
    // To itself only: abort(3) and the like.
    for number in [libc::SYS_kill, libc::SYS_tgkill] {
        program.extend([
            jump(BPF_JEQ, number as u32, 0, 4),
            load(FIRST_ARGUMENT),
            jump(BPF_JEQ, pid, 0, 1),
            answer(ALLOW),
            answer(EPERM),
        ]);
    }
    // Its own limits, not the privileged process', which may have the same uid.
    program.extend([
        jump(BPF_JEQ, libc::SYS_prlimit64 as u32, 0, 5),
        load(FIRST_ARGUMENT),
        jump(BPF_JEQ, 0, 1, 0),
        jump(BPF_JEQ, pid, 0, 1),
        answer(ALLOW),
        answer(EPERM),
    ]);
    // No keystrokes for whoever reads the terminal next.
    program.extend([
        jump(BPF_JEQ, libc::SYS_ioctl as u32, 0, 5),
        load(SECOND_ARGUMENT),
        jump(BPF_JEQ, libc::TIOCSTI as u32, 1, 0),
        jump(BPF_JEQ, libc::TIOCLINUX as u32, 0, 1),
        answer(EPERM),
        answer(ALLOW),
    ]);
    // Threads, no processes: one would outlive the worker. clone3 hides its flags behind a pointer; libcs fall back to clone.
    program.extend([jump(BPF_JEQ, libc::SYS_clone3 as u32, 0, 1), answer(ENOSYS)]);
    let thread = libc::CLONE_THREAD as u32;
    program.extend([
        jump(BPF_JEQ, libc::SYS_clone as u32, 0, 4),
        load(FIRST_ARGUMENT),
        jump(BPF_JSET, thread, 0, 1),
        answer(ALLOW),
        answer(EPERM),
    ]);
    program.push(answer(ALLOW));
    program
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn jump(test: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt: yes, jf: no, k: value }
}

fn answer(action: u32) -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: action }
}
