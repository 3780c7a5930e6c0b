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

/// The rules, each with the first of the numbers that it is for, sorted.
fn rules() -> Vec<(u32, Rule)> {
    let refused = REFUSED.iter().chain(REFUSED_OLD).map(|number| (*number, Rule::Refuse));
    // clone3 hides its flags behind a pointer; libcs fall back to clone.
    let others = [
        (libc::SYS_kill, Rule::ToItself),
        (libc::SYS_tgkill, Rule::ToItself),
        (libc::SYS_prlimit64, Rule::OwnLimit),
        (libc::SYS_ioctl, Rule::Device),
        (libc::SYS_clone, Rule::Thread),
        (libc::SYS_clone3, Rule::Absent),
    ];
    let mut ruled: Vec<(u32, Rule)> = refused.chain(others).map(|(number, rule)| (number as u32, rule)).collect();
    ruled.sort_unstable_by_key(|(number, _)| *number);
    let mut rules = vec![(0, Rule::Allow)];
    for (number, rule) in ruled {
        rules.pop_if(|(first, _)| *first == number);
        if rules.last().is_none_or(|(_, before)| *before != rule) {
            rules.push((number, rule));
        }
        rules.push((number + 1, Rule::Allow));
    }
    rules
}

/// The filter for a process with this pid.
///
/// It searches by halves, in few instructions: as it is installed, the kernel compiles it and walks it once for each of its
/// hundreds of calls, so a comparison for each refused call would cost more than the rest of the sandbox.
pub fn filter(pid: u32) -> Vec<sock_filter> {
    let thread = libc::CLONE_THREAD as u32;
    let endings = [
        (Rule::Allow, vec![answer(ALLOW)]),
        (Rule::Refuse, vec![answer(EPERM)]),
        (Rule::Absent, vec![answer(ENOSYS)]),
        (Rule::ToItself, vec![load(FIRST_ARGUMENT), jump(BPF_JEQ, pid, 0, 1), answer(ALLOW), answer(EPERM)]),
        (
            Rule::OwnLimit,
            vec![load(FIRST_ARGUMENT), jump(BPF_JEQ, 0, 1, 0), jump(BPF_JEQ, pid, 0, 1), answer(ALLOW), answer(EPERM)],
        ),
        (
            Rule::Device,
            vec![
                load(SECOND_ARGUMENT),
                jump(BPF_JEQ, libc::TIOCSTI as u32, 1, 0),
                jump(BPF_JEQ, libc::TIOCLINUX as u32, 0, 1),
                answer(EPERM),
                answer(ALLOW),
            ],
        ),
        (Rule::Thread, vec![load(FIRST_ARGUMENT), jump(BPF_JSET, thread, 0, 1), answer(ALLOW), answer(EPERM)]),
    ];
    let mut branches = Vec::new();
    search(&rules(), &mut branches);
    let offset = |from: usize, target: Target| {
        let to = match target {
            Target::Branch(at) => at,
            Target::Ending(rule) => {
                let before = endings.iter().take_while(|(of, _)| *of != rule);
                branches.len() + before.map(|(_, instructions)| instructions.len()).sum::<usize>()
            }
        };
        // Always ahead, and far less than 256: a test walks the whole program.
        (to - from - 1) as u8
    };
    let mut program = vec![load(ARCHITECTURE), jump(BPF_JEQ, NATIVE, 1, 0), answer(KILL), load(NUMBER)];
    #[cfg(target_arch = "x86_64")]
    program.extend([jump(BPF_JGE, X32, 0, 1), answer(KILL)]);
    program.extend(
        branches
            .iter()
            .enumerate()
            .map(|(at, &Branch { first, from, below })| jump(BPF_JGE, first, offset(at, from), offset(at, below))),
    );
    program.extend(endings.into_iter().flat_map(|(_, instructions)| instructions));
    program
}

/// Where a number from `first` on leads to, and one below.
struct Branch {
    first: u32,
    from: Target,
    below: Target,
}

#[derive(Clone, Copy)]
enum Target {
    Branch(usize),
    Ending(Rule),
}

/// Adds the branches that lead a number to its rule, and says where they start.
fn search(rules: &[(u32, Rule)], branches: &mut Vec<Branch>) -> Target {
    match rules {
        [] => Target::Ending(Rule::Refuse),
        [(_, rule)] => Target::Ending(*rule),
        many => {
            let (lower, upper) = many.split_at(many.len() / 2);
            let at = branches.len();
            let nowhere = Target::Ending(Rule::Refuse);
            branches.push(Branch { first: upper[0].0, from: nowhere, below: nowhere });
            branches[at].below = search(lower, branches);
            branches[at].from = search(upper, branches);
            Target::Branch(at)
        }
    }
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
