//! The worker's system call filter (seccomp(2)), in classic BPF: allows the system calls that a fetch needs, and no others.
//!
//! The lists hold the calls that `strace` shows for the fetches of every provider, with musl and glibc, and the few that it cannot.
//! A refused call fails with EPERM: a library that only tries it goes on. A call newer than this list fails with ENOSYS, as on a
//! kernel without it. A call of a foreign architecture kills the process.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use handfast_core::Sockets;
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter};

/// What a sandboxed process may do in addition to the lists below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The process' end of the socketpair. It must not be bound to an address, which would make a file, or be duplicated.
    pub socket: RawFd,
    /// Whether the process may make Unix sockets: a provider has a `unix://` address.
    pub unix_sockets: bool,
    /// Whether the process lives on, and needs an alarm.
    pub lives_on: bool,
    /// Whether the process looks up host names: the C library's resolver binds its UDP socket.
    pub host_names: bool,
}

impl Profile {
    /// The profile of a worker whose providers need these sockets.
    pub fn of_worker(socket: &UnixStream, needed: Sockets, lives_on: bool) -> Self {
        // Unless every store is behind a Unix socket. `bind` is then refused, since a bound Unix socket is a file.
        let host_names = needed.internet || !needed.unix;
        Self { socket: socket.as_raw_fd(), unix_sockets: needed.unix, lives_on, host_names }
    }
}

/// The newest call that this list knows of: `listns`, Linux 6.19. The same number on every architecture.
const NEWEST: u32 = 470;

/// Calls that are allowed with any arguments: they change only the worker's own memory, threads and descriptors.
const ALLOWED: &[c_long] = &[
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
const ALLOWED_OLD: &[c_long] =
    &[libc::SYS_stat, libc::SYS_lstat, libc::SYS_readlink, libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[c_long] = &[];

/// A call that is allowed if every test passes.
struct Rule(c_long, &'static [Test]);

/// A test of one 32-bit half of an argument: its bits under the mask must equal one of the values.
struct Test(Half, u32, &'static [u32]);

/// The offset of an argument's lower or upper half in `struct seccomp_data` (little endian).
type Half = u32;

const fn low(argument: u32) -> Half {
    16 + 8 * argument
}

const fn high(argument: u32) -> Half {
    low(argument) + 4
}

/// The mask that keeps every bit of a half.
const ALL: u32 = u32::MAX;

/// The flags with which a file may be opened: for reading. O_LARGEFILE is 0 in some C libraries; the others set it.
const READING: u32 = (libc::O_RDONLY
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
const THREAD: u32 = libc::CLONE_THREAD as u32;
const THREAD_FLAGS: u32 = (libc::CLONE_VM
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
const RULES: &[Rule] = &[
    Rule(libc::SYS_openat, &[Test(low(2), !READING, &[0])]),
    #[cfg(target_arch = "x86_64")]
    Rule(libc::SYS_open, &[Test(low(1), !READING, &[0])]),
    Rule(libc::SYS_fcntl, &[Test(low(1), ALL, &[libc::F_GETFD as u32, libc::F_SETFD as u32, libc::F_GETFL as u32])]),
    Rule(libc::SYS_fcntl, &[Test(low(1), ALL, &[libc::F_SETFL as u32]), Test(low(2), !STATUS, &[0])]),
    Rule(libc::SYS_ioctl, &[Test(low(1), ALL, &[libc::FIONBIO as u32, libc::FIONREAD as u32])]),
    Rule(
        libc::SYS_socket,
        &[
            Test(low(0), ALL, &[libc::AF_INET as u32, libc::AF_INET6 as u32]),
            Test(low(1), !SOCKET_FLAGS, &[STREAM, DATAGRAM]),
            Test(low(2), ALL, &[0, libc::IPPROTO_TCP as u32, libc::IPPROTO_UDP as u32]),
        ],
    ),
    Rule(
        libc::SYS_setsockopt,
        &[Test(low(1), ALL, &[libc::SOL_SOCKET as u32]), Test(low(2), ALL, &[libc::SO_KEEPALIVE as u32])],
    ),
    Rule(
        libc::SYS_setsockopt,
        &[
            Test(low(1), ALL, &[libc::SOL_TCP as u32]),
            Test(
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
        &[Test(low(1), ALL, &[libc::SOL_IP as u32]), Test(low(2), ALL, &[libc::IP_RECVERR as u32])],
    ),
    Rule(
        libc::SYS_setsockopt,
        &[
            Test(low(1), ALL, &[libc::SOL_IPV6 as u32]),
            Test(low(2), ALL, &[libc::IPV6_V6ONLY as u32, libc::IPV6_RECVERR as u32]),
        ],
    ),
    // Neither call may make memory executable: no new code.
    Rule(libc::SYS_mmap, &[Test(low(2), libc::PROT_EXEC as u32, &[0])]),
    Rule(libc::SYS_mprotect, &[Test(low(2), libc::PROT_EXEC as u32, &[0])]),
    Rule(libc::SYS_clone, &[Test(low(0), !THREAD_FLAGS, &[0]), Test(low(0), THREAD, &[THREAD])]),
    // Wait for a thread and wake it. The operations with priority inheritance (PI) are refused: they take any thread's number.
    Rule(
        libc::SYS_futex,
        &[Test(
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
    Rule(libc::SYS_prctl, &[Test(low(0), ALL, &[libc::PR_SET_NAME as u32])]),
    // Read the process' own limits.
    Rule(libc::SYS_prlimit64, &[Test(low(0), ALL, &[0]), Test(low(2), ALL, &[0]), Test(high(2), ALL, &[0])]),
];

/// A stream to a Unix socket, if the profile allows it.
const UNIX_SOCKET: Rule = Rule(
    libc::SYS_socket,
    &[Test(low(0), ALL, &[libc::AF_UNIX as u32]), Test(low(1), !SOCKET_FLAGS, &[STREAM]), Test(low(2), ALL, &[0])],
);

/// An alarm, if the profile allows it: timers on this clock wake no machine.
const ALARM: [Rule; 2] = [
    Rule(libc::SYS_timerfd_create, &[Test(low(0), ALL, &[libc::CLOCK_BOOTTIME as u32])]),
    Rule(libc::SYS_timerfd_settime, &[]),
];

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// The first number of x32, a second table of system calls on the same architecture.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

// The offsets of the number and the architecture in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// The filter's program. It finds a call by binary search over the numbers and is short, because the kernel translates the
/// program and runs it once for each number when it is installed. Comparing one call after the other would cost a tenth of a
/// start.
pub fn filter(profile: Profile) -> Vec<sock_filter> {
    let (parts, codes) = parts(profile);
    let mut program = vec![load(ARCHITECTURE), jump(BPF_JEQ, NATIVE, 1, 0), answer(KILL), load(NUMBER)];
    #[cfg(target_arch = "x86_64")]
    program.extend([jump(BPF_JGE, X32, 0, 1), answer(KILL)]);
    // The search takes one branch between every two parts. The codes follow.
    let mut at = program.len() + parts.len() - 1;
    let mut starts = Vec::with_capacity(codes.len());
    for code in &codes {
        starts.push(at);
        at += code.len();
    }
    search(&parts, &starts, &mut program);
    program.extend(codes.concat());
    program
}

/// A range of call numbers: its first number (it ends before the next part's first number), and the index of the code that
/// decides about these calls.
type Part = (u32, usize);

/// The parts, in order of number, and the codes.
fn parts(profile: Profile) -> (Vec<Part>, Vec<Vec<sock_filter>>) {
    const REFUSE: usize = 0;
    const TAKE: usize = 1;
    const BE_ABSENT: usize = 2;
    let mut codes = vec![vec![answer(EPERM)], vec![answer(ALLOW)], vec![answer(ENOSYS)]];
    let alarm = ALARM.iter().filter(|_| profile.lives_on);
    let mut tested: BTreeMap<c_long, Vec<sock_filter>> = BTreeMap::new();
    for Rule(call, tests) in RULES.iter().chain(profile.unix_sockets.then_some(&UNIX_SOCKET)).chain(alarm) {
        tested.entry(*call).or_default().extend(rule(tests.iter().flat_map(test)));
    }
    let other_than_its_socket = || [load(low(0)), jump(BPF_JEQ, profile.socket as u32, FAILS, 0)];
    let duplicates = [load(low(1)), jump(BPF_JEQ, libc::F_DUPFD_CLOEXEC as u32, 0, FAILS)];
    tested.entry(libc::SYS_fcntl).or_default().extend(rule(duplicates.into_iter().chain(other_than_its_socket())));
    if profile.host_names {
        tested.insert(libc::SYS_bind, rule(other_than_its_socket()));
    }
    // A filter cannot read clone3's flags, which are in memory. Without clone3, the C libraries use clone.
    let mut calls = BTreeMap::from([(libc::SYS_clone3, BE_ABSENT)]);
    calls.extend(ALLOWED.iter().chain(ALLOWED_OLD).map(|call| (*call, TAKE)));
    for (call, mut code) in tested {
        code.push(answer(EPERM));
        calls.insert(call, codes.len());
        codes.push(code);
    }
    let mut parts = vec![(0, REFUSE)];
    for (call, code) in calls {
        // This call follows the last one directly: there is no range of refused calls between them.
        parts.pop_if(|(first, _)| *first == call as u32);
        if parts.last().is_none_or(|(_, before)| *before != code) {
            parts.push((call as u32, code));
        }
        parts.push((call as u32 + 1, REFUSE));
    }
    parts.push((NEWEST + 1, BE_ABSENT));
    (parts, codes)
}

/// Adds the branches that lead to the code of each part, and returns the index of the first branch. Every jump is shorter than
/// 256 instructions: the tests run every number.
fn search(parts: &[Part], starts: &[usize], program: &mut Vec<sock_filter>) -> usize {
    if let [(_, code)] = parts {
        return starts[*code];
    }
    let (below, from) = parts.split_at(parts.len() / 2);
    let at = program.len();
    program.push(jump(BPF_JGE, from[0].0, 0, 0));
    let ways = [search(from, starts, program), search(below, starts, program)];
    [program[at].jt, program[at].jf] = ways.map(|way| (way - at - 1) as u8);
    at
}

/// Marks a jump that leaves the rule because a test failed. [`rule`] replaces it once the rule's length is known.
const FAILS: u8 = u8::MAX;

/// Allows a call if all tests pass. If a test fails, execution goes on behind the rule.
fn rule(tests: impl IntoIterator<Item = sock_filter>) -> Vec<sock_filter> {
    let mut rule: Vec<sock_filter> = tests.into_iter().collect();
    rule.push(answer(ALLOW));
    let length = rule.len();
    for (at, instruction) in rule.iter_mut().enumerate() {
        // A rule has few instructions, so no jump out of it is as long as `FAILS`.
        let out = (length - at - 1) as u8;
        for way in [&mut instruction.jt, &mut instruction.jf].into_iter().filter(|way| **way == FAILS) {
            *way = out;
        }
    }
    rule
}

fn test(Test(half, mask, values): &Test) -> Vec<sock_filter> {
    let mut test = vec![load(*half)];
    if *mask != ALL {
        test.push(sock_filter { code: (BPF_ALU | BPF_AND | BPF_K) as u16, jt: 0, jf: 0, k: *mask });
    }
    for (at, value) in values.iter().enumerate() {
        let others = values.len() - at - 1;
        test.push(jump(BPF_JEQ, *value, others as u8, if others == 0 { FAILS } else { 0 }));
    }
    test
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
mod tests;
