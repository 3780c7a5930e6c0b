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

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Allow,
    Refuse,
    /// As if the kernel did not know it.
    Absent,
    /// A signal: to itself only, as abort(3) and the like send it.
    ToItself,
    /// A limit: its own, not the privileged process', which may have the same uid.
    OwnLimit,
    /// A device: no keystrokes for whoever reads the terminal next.
    Device,
    /// A clone: a thread, and no process, since that would outlive the worker.
    Thread,
}

/// Calls with a rule of their own. clone3 hides its flags behind a pointer; libcs fall back to clone.
const OTHERS: [(libc::c_long, Rule); 6] = [
    (libc::SYS_kill, Rule::ToItself),
    (libc::SYS_tgkill, Rule::ToItself),
    (libc::SYS_prlimit64, Rule::OwnLimit),
    (libc::SYS_ioctl, Rule::Device),
    (libc::SYS_clone, Rule::Thread),
    (libc::SYS_clone3, Rule::Absent),
];

const RULED: usize = REFUSED.len() + REFUSED_OLD.len() + OTHERS.len();

/// The calls that have a rule, sorted by number.
const fn ruled() -> [(u32, Rule); RULED] {
    let mut sorted = [(0, Rule::Refuse); RULED];
    let mut count = 0;
    while count < RULED {
        let (number, rule) = if count < REFUSED.len() {
            (REFUSED[count], Rule::Refuse)
        } else if count < REFUSED.len() + REFUSED_OLD.len() {
            (REFUSED_OLD[count - REFUSED.len()], Rule::Refuse)
        } else {
            OTHERS[count - REFUSED.len() - REFUSED_OLD.len()]
        };
        let mut at = count;
        while at > 0 && sorted[at - 1].0 > number as u32 {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = (number as u32, rule);
        count += 1;
    }
    sorted
}

/// The rules, each with the first of the numbers that it is for, sorted; and how many there are: at most two for each call that
/// has one.
const fn rules() -> ([(u32, Rule); 2 * RULED + 1], usize) {
    let ruled = ruled();
    let mut rules = [(0, Rule::Allow); 2 * RULED + 1];
    let (mut count, mut at) = (1, 0);
    while at < RULED {
        let (number, rule) = ruled[at];
        if rules[count - 1].0 == number {
            count -= 1;
        }
        if count == 0 || rules[count - 1].1 as u8 != rule as u8 {
            rules[count] = (number, rule);
            count += 1;
        }
        rules[count] = (number + 1, Rule::Allow);
        count += 1;
        at += 1;
    }
    (rules, count)
}

const RULES: ([(u32, Rule); 2 * RULED + 1], usize) = rules();

/// What every call meets first.
const BEGINNING: &[sock_filter] = &[
    load(ARCHITECTURE),
    jump(BPF_JEQ, NATIVE, 1, 0),
    answer(KILL),
    load(NUMBER),
    #[cfg(target_arch = "x86_64")]
    jump(BPF_JGE, X32, 0, 1),
    #[cfg(target_arch = "x86_64")]
    answer(KILL),
];

/// Stands for the process' own pid, which is no other's value here.
const OWN: u32 = u32::MAX;

const THREAD: u32 = libc::CLONE_THREAD as u32;
const KEYSTROKE: u32 = libc::TIOCSTI as u32;
const CONSOLE: u32 = libc::TIOCLINUX as u32;

/// What each rule does, in the order of [`Rule`].
const ENDINGS: [&[sock_filter]; 7] = [
    &[answer(ALLOW)],
    &[answer(EPERM)],
    &[answer(ENOSYS)],
    &[load(FIRST_ARGUMENT), jump(BPF_JEQ, OWN, 0, 1), answer(ALLOW), answer(EPERM)],
    &[load(FIRST_ARGUMENT), jump(BPF_JEQ, 0, 1, 0), jump(BPF_JEQ, OWN, 0, 1), answer(ALLOW), answer(EPERM)],
    &[
        load(SECOND_ARGUMENT),
        jump(BPF_JEQ, KEYSTROKE, 1, 0),
        jump(BPF_JEQ, CONSOLE, 0, 1),
        answer(EPERM),
        answer(ALLOW),
    ],
    &[load(FIRST_ARGUMENT), jump(BPF_JSET, THREAD, 0, 1), answer(ALLOW), answer(EPERM)],
];

/// Where the ending of a rule starts: behind the beginning, a branch between each two rules, and the endings before it.
const fn ending(rule: usize) -> usize {
    let mut start = BEGINNING.len() + RULES.1 - 1;
    let mut before = 0;
    while before < rule {
        start += ENDINGS[before].len();
        before += 1;
    }
    start
}

const LENGTH: usize = ending(ENDINGS.len());

/// The filter, but for the pid. It is the compiler's work, so that no start has to do it.
static PROGRAM: [sock_filter; LENGTH] = {
    let mut program = [answer(KILL); LENGTH];
    place(&mut program, 0, BEGINNING);
    search(&mut program, BEGINNING.len(), 0, RULES.1);
    let mut rule = 0;
    while rule < ENDINGS.len() {
        place(&mut program, ending(rule), ENDINGS[rule]);
        rule += 1;
    }
    program
};

const fn place(program: &mut [sock_filter; LENGTH], start: usize, instructions: &[sock_filter]) {
    let mut at = 0;
    while at < instructions.len() {
        program[start + at] = instructions[at];
        at += 1;
    }
}

/// Adds the branches that lead a number to its rule, which is one of those from `first` to before `end`. Says where they start,
/// and where the next free instruction is.
///
/// It searches by halves, in few instructions: as it is installed, the kernel compiles the filter and walks it once for each of
/// its hundreds of calls, so a comparison for each refused call would cost more than the rest of the sandbox.
const fn search(program: &mut [sock_filter; LENGTH], at: usize, first: usize, end: usize) -> (usize, usize) {
    if end - first == 1 {
        return (ending(RULES.0[first].1 as usize), at);
    }
    let middle = first + (end - first) / 2;
    let (below, next) = search(program, at + 1, first, middle);
    let (from, next) = search(program, next, middle, end);
    // Always ahead, and by less than 256: else this does not compile.
    assert!(below - at <= 256 && from - at <= 256);
    program[at] = jump(BPF_JGE, RULES.0[middle].0, (from - at - 1) as u8, (below - at - 1) as u8);
    (at, next)
}

/// The filter for a process with this pid.
pub fn filter(pid: u32) -> [sock_filter; LENGTH] {
    let mut program = PROGRAM;
    for instruction in &mut program {
        if instruction.k == OWN {
            instruction.k = pid;
        }
    }
    program
}

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

const fn jump(test: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt: yes, jf: no, k: value }
}

const fn answer(action: u32) -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: action }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: u32 = 4711;

    /// What the filter answers, and after how many instructions.
    fn run(architecture: u32, number: u32, argument: u32) -> (u32, usize) {
        run_with(architecture, number, [argument, 0])
    }

    fn run_with(architecture: u32, number: u32, [first, second]: [u32; 2]) -> (u32, usize) {
        let program = filter(PID);
        let (mut at, mut loaded) = (0, 0);
        for steps in 1..=program.len() {
            let sock_filter { code, jt, jf, k } = program[at];
            let (code, k) = (u32::from(code), k);
            at += 1;
            let holds = match code {
                _ if code == BPF_LD | BPF_W | BPF_ABS => {
                    loaded = [number, architecture, 0, 0, first, 0, second][k as usize / 4];
                    continue;
                }
                _ if code == BPF_RET | BPF_K => return (k, steps),
                _ if code == BPF_JMP | BPF_JEQ | BPF_K => loaded == k,
                _ if code == BPF_JMP | BPF_JGE | BPF_K => loaded >= k,
                _ if code == BPF_JMP | BPF_JSET | BPF_K => loaded & k != 0,
                _ => panic!("an instruction that nobody wrote: {code:#x}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
        panic!("no answer for {number}");
    }

    #[test]
    fn every_call_has_its_answer_after_a_few_instructions() {
        let special = [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_clone, libc::SYS_clone3];
        for number in (0..1000).chain([X32_FIRST - 1]) {
            let (found, steps) = run(NATIVE, number, 0);
            let known = libc::c_long::from(number);
            let expected = match known {
                libc::SYS_clone3 => ENOSYS,
                _ if REFUSED.contains(&known) || REFUSED_OLD.contains(&known) || special.contains(&known) => EPERM,
                _ => ALLOW,
            };
            assert_eq!(found, expected, "{number}");
            assert!(steps < 16, "{number} takes {steps} instructions");
        }
    }

    const X32_FIRST: u32 = 0x4000_0000;

    #[test]
    fn signals_go_to_itself_only_and_clone_makes_threads_only() {
        for (number, argument, expected) in [
            (libc::SYS_kill, PID, ALLOW),
            (libc::SYS_kill, 1, EPERM),
            (libc::SYS_tgkill, PID, ALLOW),
            (libc::SYS_tgkill, PID + 1, EPERM),
            (libc::SYS_clone, libc::CLONE_THREAD as u32 | libc::CLONE_VM as u32, ALLOW),
            (libc::SYS_clone, libc::SIGCHLD as u32, EPERM),
        ] {
            assert_eq!(run(NATIVE, number as u32, argument).0, expected, "{number} {argument}");
        }
    }

    #[test]
    fn limits_are_its_own_and_devices_are_no_keyboards() {
        for (number, arguments, expected) in [
            (libc::SYS_prlimit64, [0, 0], ALLOW),
            (libc::SYS_prlimit64, [PID, 0], ALLOW),
            (libc::SYS_prlimit64, [1, 0], EPERM),
            (libc::SYS_ioctl, [0, libc::TCGETS as u32], ALLOW),
            (libc::SYS_ioctl, [0, libc::TIOCSTI as u32], EPERM),
            (libc::SYS_ioctl, [0, libc::TIOCLINUX as u32], EPERM),
        ] {
            assert_eq!(run_with(NATIVE, number as u32, arguments).0, expected, "{number} {arguments:?}");
        }
    }

    #[test]
    fn a_foreign_architecture_ends_the_process() {
        assert_eq!(run(NATIVE ^ 1, libc::SYS_read as u32, 0).0, KILL);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(run(NATIVE, X32_FIRST, 0).0, KILL);
    }
}
