use std::os::fd::RawFd;

use handfast_core::Sockets;
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter};
use nix::unistd::Pid;

use super::supervisor;
use super::worker::{ALLOWED, ALLOWED_OLD, INOTIFY, THREAD_FLAGS};
#[cfg(target_arch = "x86_64")]
use crate::cage::seccomp::X32;
use crate::cage::seccomp::{ALLOW, ARCHITECTURE, ENOSYS, EPERM, KILL, NATIVE, NEWEST, NUMBER, Profile, filter};
use crate::sys::capabilities::{CHOWN, SETGID};

const SOCKET: RawFd = 7;

/// The kinds of workers: with the sockets of the internet, of Unix, or both.
const PLAIN: Sockets = Sockets::INTERNET;
const NAMELESS: Sockets = Sockets { internet: false, unix: true };
const BOTH: Sockets = Sockets { internet: true, unix: true };

/// A supervisor, and its app.
const OWN: i32 = 1;
const APP: i32 = 7;
const WORKER: i32 = 8;

/// Runs the filter and returns its answer.
fn run_with(needed: Sockets, architecture: u32, number: u32, arguments: &[u64]) -> u32 {
    answer(&Profile::around(SOCKET, needed), architecture, number, arguments)
}

fn answer(profile: &Profile, architecture: u32, number: u32, arguments: &[u64]) -> u32 {
    let program = filter(profile);
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    let (mut at, mut accumulator) = (0, 0);
    for _ in 0..program.len() {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match u32::from(code) {
            code if code == BPF_LD | BPF_W | BPF_ABS => {
                accumulator = match k {
                    NUMBER => number,
                    ARCHITECTURE => architecture,
                    half if half % 8 == 0 => argument(half as usize / 8 - 2) as u32,
                    half => (argument(half as usize / 8 - 2) >> 32) as u32,
                };
                continue;
            }
            code if code == BPF_ALU | BPF_AND | BPF_K => {
                accumulator &= k;
                continue;
            }
            code if code == BPF_RET | BPF_K => return k,
            code if code == BPF_JMP | BPF_JEQ | BPF_K => accumulator == k,
            code if code == BPF_JMP | BPF_JGE | BPF_K => accumulator >= k,
            code => panic!("an instruction that nobody wrote: {code:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
    panic!("no answer for {number}");
}

fn run(call: c_long, arguments: &[u64]) -> u32 {
    run_with(PLAIN, NATIVE, call as u32, arguments)
}

#[test]
fn only_calls_of_the_lists_are_ever_allowed() {
    let plain: Vec<c_long> = ALLOWED.iter().chain(ALLOWED_OLD).copied().collect();
    for number in 0..=NEWEST {
        let call = c_long::from(number);
        // Every bit of every argument is set: no rule allows such a call.
        let expected = match call {
            libc::SYS_clone3 => ENOSYS,
            libc::SYS_bind => ALLOW,
            _ if plain.contains(&call) => ALLOW,
            _ => EPERM,
        };
        assert_eq!(run(call, &[u64::MAX; 6]), expected, "{number}");
    }
    for number in [NEWEST + 1, 500, 600, 1000, 0x3fff_ffff] {
        assert_eq!(run_with(PLAIN, NATIVE, number, &[]), ENOSYS, "{number}");
    }
}

#[test]
fn every_instruction_can_be_reached_by_a_jump() {
    // No jump is longer than a byte can hold, for any profile.
    for needed in [PLAIN, NAMELESS, BOTH] {
        let length = filter(&Profile::around(SOCKET, needed).with_alarm().with_inotify().listening(9)).len();
        assert!(length < 256, "{length}");
    }
    assert!(filter(&Profile::beside(APP, OWN)).len() < 256);
    assert!(filter(&Profile::keeping(APP, OWN, WORKER, u64::MAX)).len() < 256);
    assert!(filter(&Profile::of_keeper(Pid::from_raw(WORKER), u64::MAX)).len() < 256);
}

#[test]
fn a_listener_is_taken_from_and_no_other_one_is_made() {
    let listening = |call: c_long, arguments: &[u64]| {
        answer(&Profile::around(SOCKET, PLAIN).listening(9), NATIVE, call as u32, arguments)
    };
    let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u64;
    assert_eq!(listening(libc::SYS_accept4, &[9, 1, 1, flags]), ALLOW);
    for (call, arguments) in [
        (libc::SYS_accept4, &[SOCKET as u64, 1, 1, flags][..]),
        (libc::SYS_accept4, &[10, 1, 1, flags]),
        (libc::SYS_accept, &[9, 1, 1]),
        (libc::SYS_listen, &[9, 1]),
        (libc::SYS_listen, &[10, 1]),
    ] {
        assert_eq!(listening(call, arguments), EPERM, "{call} {arguments:?}");
    }
    assert_eq!(run(libc::SYS_accept4, &[9, 1, 1, flags]), EPERM, "only where the plan has metrics");
}

#[test]
fn files_are_opened_for_reading_only() {
    let flags = |flags: i32| run(libc::SYS_openat, &[0, 0, flags as u64]);
    for allowed in
        [libc::O_RDONLY, libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY, libc::O_PATH | libc::O_DIRECTORY]
    {
        assert_eq!(flags(allowed), ALLOW, "{allowed:#o}");
    }
    for refused in [
        libc::O_WRONLY,
        libc::O_RDWR,
        libc::O_CREAT,
        libc::O_TRUNC,
        libc::O_TMPFILE,
        libc::O_APPEND,
        libc::O_ASYNC,
        libc::O_ACCMODE,
        libc::O_CREAT | libc::O_CLOEXEC,
    ] {
        assert_eq!(flags(refused), EPERM, "{refused:#o}");
    }
    // The kernel reads only the lower half.
    assert_eq!(run(libc::SYS_openat, &[0, 0, 1 << 32]), ALLOW);
    // openat2's flags are in memory, where the filter cannot test them.
    assert_eq!(run(libc::SYS_openat2, &[]), EPERM);
}

#[test]
fn sockets_are_those_of_the_internet() {
    let socket = |profile, family: i32, kind: i32, protocol: i32| {
        run_with(profile, NATIVE, libc::SYS_socket as u32, &[family as u64, kind as u64, protocol as u64])
    };
    let (stream, datagram) = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK);
    let unix = BOTH;
    for (family, kind, protocol, expected) in [
        (libc::AF_INET, stream, libc::IPPROTO_TCP, ALLOW),
        (libc::AF_INET6, datagram, 0, ALLOW),
        (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP, EPERM),
        (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP, EPERM),
        (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP, EPERM),
        (libc::AF_NETLINK, libc::SOCK_RAW, 0, EPERM),
        (libc::AF_VSOCK, libc::SOCK_STREAM, 0, EPERM),
        (libc::AF_PACKET, libc::SOCK_DGRAM, 0, EPERM),
        (libc::AF_ALG, libc::SOCK_SEQPACKET, 0, EPERM),
    ] {
        assert_eq!(socket(PLAIN, family, kind, protocol), expected, "{family} {kind} {protocol}");
        assert_eq!(socket(unix, family, kind, protocol), expected, "{family} {kind} {protocol}");
    }
    assert_eq!(socket(PLAIN, libc::AF_UNIX, stream, 0), EPERM);
    assert_eq!(socket(unix, libc::AF_UNIX, stream, 0), ALLOW);
    assert_eq!(socket(unix, libc::AF_UNIX, datagram, 0), EPERM);
}

#[test]
fn its_socket_is_never_bound_or_duplicated() {
    let own = SOCKET as u64;
    assert_eq!(run(libc::SYS_bind, &[own]), EPERM);
    assert_eq!(run(libc::SYS_bind, &[own + 1]), ALLOW);
    assert_eq!(run_with(NAMELESS, NATIVE, libc::SYS_bind as u32, &[own + 1]), EPERM);
    let duplicate = libc::F_DUPFD_CLOEXEC as u64;
    assert_eq!(run(libc::SYS_fcntl, &[own, duplicate]), EPERM);
    assert_eq!(run(libc::SYS_fcntl, &[own + 1, duplicate]), ALLOW);
    for call in [libc::SYS_dup, libc::SYS_dup3, libc::SYS_pidfd_getfd] {
        assert_eq!(run(call, &[own]), EPERM, "{call}");
    }
}

#[test]
fn a_call_that_is_more_than_one_thing_is_allowed_as_one_of_them() {
    let process = u64::from(libc::SIGCHLD as u32);
    let thread = u64::from(THREAD_FLAGS);
    for (call, arguments, expected) in [
        (libc::SYS_clone, &[thread][..], ALLOW),
        (libc::SYS_clone, &[process], EPERM),
        (libc::SYS_clone, &[thread | libc::CLONE_NEWUSER as u64], EPERM),
        (libc::SYS_fcntl, &[0, libc::F_SETFL as u64, libc::O_NONBLOCK as u64], ALLOW),
        (libc::SYS_fcntl, &[0, libc::F_SETFL as u64, libc::O_ASYNC as u64], EPERM),
        (libc::SYS_fcntl, &[0, libc::F_SETOWN as u64, 1], EPERM),
        (libc::SYS_fcntl, &[0, 10 /* F_SETSIG */, 9], EPERM),
        (libc::SYS_fcntl, &[0, libc::F_OFD_SETLK as u64, 0], EPERM),
        (libc::SYS_ioctl, &[0, 0x5421 /* FIONBIO */], ALLOW),
        (libc::SYS_ioctl, &[0, 0x5452 /* FIOASYNC */], EPERM),
        (libc::SYS_ioctl, &[0, 0x5412 /* TIOCSTI */], EPERM),
        (libc::SYS_ioctl, &[0, 0x5401 /* TCGETS */], EPERM),
        (libc::SYS_futex, &[0, (libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG) as u64], ALLOW),
        (libc::SYS_futex, &[0, libc::FUTEX_LOCK_PI as u64], EPERM),
        (libc::SYS_futex, &[0, (libc::FUTEX_CMP_REQUEUE_PI | libc::FUTEX_PRIVATE_FLAG) as u64], EPERM),
        (libc::SYS_prctl, &[libc::PR_SET_NAME as u64], ALLOW),
        (libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG as u64], EPERM),
        (libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 1], EPERM),
        (libc::SYS_prlimit64, &[0, 0, 0, 1], ALLOW),
        (libc::SYS_prlimit64, &[0, 0, 1 << 32, 0], EPERM),
        (libc::SYS_prlimit64, &[1, 0, 0, 1], EPERM),
        (libc::SYS_mmap, &[0, 0, (libc::PROT_READ | libc::PROT_WRITE) as u64], ALLOW),
        (libc::SYS_mmap, &[0, 0, (libc::PROT_READ | libc::PROT_EXEC) as u64], EPERM),
        (libc::SYS_mprotect, &[0, 0, libc::PROT_EXEC as u64], EPERM),
        (libc::SYS_setsockopt, &[0, libc::SOL_TCP as u64, libc::TCP_NODELAY as u64], ALLOW),
        (libc::SYS_setsockopt, &[0, libc::SOL_TCP as u64, libc::TCP_ULP as u64], EPERM),
        (libc::SYS_setsockopt, &[0, libc::SOL_SOCKET as u64, libc::SO_ATTACH_FILTER as u64], EPERM),
    ] {
        assert_eq!(run(call, arguments), expected, "{call} {arguments:?}");
    }
}

#[test]
fn a_foreign_architecture_ends_the_process() {
    assert_eq!(run_with(PLAIN, NATIVE ^ 1, libc::SYS_read as u32, &[]), KILL);
    #[cfg(target_arch = "x86_64")]
    assert_eq!(run_with(PLAIN, NATIVE, X32, &[]), KILL);
}

#[test]
fn an_alarm_is_for_a_worker_that_lives_on() {
    let keeper = Profile::around(SOCKET, PLAIN).with_alarm();
    let ask = |call: c_long, clock: i32| answer(&keeper, NATIVE, call as u32, &[clock as u64]);
    for call in [libc::SYS_timerfd_create, libc::SYS_timerfd_settime] {
        assert_eq!(run(call, &[libc::CLOCK_BOOTTIME as u64]), EPERM);
        assert_eq!(ask(call, libc::CLOCK_BOOTTIME), ALLOW);
    }
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_BOOTTIME_ALARM, libc::CLOCK_REALTIME_ALARM] {
        assert_eq!(ask(libc::SYS_timerfd_create, clock), EPERM);
    }
}

#[test]
fn news_of_files_are_for_a_worker_that_reads_them_again() {
    let keeper = Profile::around(SOCKET, PLAIN).with_alarm().with_inotify();
    for call in INOTIFY {
        assert_eq!(run(*call, &[]), EPERM);
        assert_eq!(answer(&keeper, NATIVE, *call as u32, &[]), ALLOW);
    }
    assert_eq!(answer(&keeper, NATIVE, libc::SYS_fanotify_init as u32, &[]), EPERM);
}

#[test]
fn a_supervisor_sends_signals_to_its_app_and_to_itself_alone() {
    let profile = Profile::beside(APP, OWN);
    let run = |call: c_long, arguments: &[u64]| answer(&profile, NATIVE, call as u32, arguments);
    // The kernel reads a process id from the lower half.
    let number = |pid: i32| u64::from(pid.cast_unsigned());
    for target in [APP, -APP, OWN, 0] {
        assert_eq!(run(libc::SYS_kill, &[number(target), 15]), ALLOW, "{target}");
    }
    for target in [-1, 2, 6, 8, -OWN, -8] {
        assert_eq!(run(libc::SYS_kill, &[number(target), 15]), EPERM, "{target}");
    }
    for (target, expected) in [(APP, ALLOW), (-APP, EPERM), (OWN, EPERM), (0, EPERM)] {
        assert_eq!(run(libc::SYS_rt_sigqueueinfo, &[number(target), 40]), expected, "{target}");
    }
    for call in [libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_pidfd_send_signal, libc::SYS_rt_tgsigqueueinfo] {
        assert_eq!(run(call, &[number(APP), number(APP), 15]), EPERM, "{call}");
    }
}

#[test]
fn a_supervisor_opens_makes_and_executes_nothing() {
    let profile = Profile::beside(APP, OWN);
    let plain: Vec<c_long> = supervisor::ALLOWED.iter().chain(supervisor::ALLOWED_OLD).copied().collect();
    for number in 0..=NEWEST {
        // Every bit of every argument is set: no rule allows such a call.
        let expected = if plain.contains(&c_long::from(number)) { ALLOW } else { EPERM };
        assert_eq!(answer(&profile, NATIVE, number, &[u64::MAX; 6]), expected, "{number}");
    }
    let mut calls = vec![libc::SYS_openat, libc::SYS_openat2, libc::SYS_socket, libc::SYS_clone, libc::SYS_clone3];
    calls.extend([libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_setresuid, libc::SYS_capset]);
    calls.extend([libc::SYS_connect, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_prctl, libc::SYS_prlimit64]);
    for call in calls {
        assert_eq!(answer(&profile, NATIVE, call as u32, &[]), EPERM, "{call}");
    }
    for (call, arguments, expected) in [
        (libc::SYS_ioctl, &[0, 0x5410 /* TIOCSPGRP */][..], ALLOW),
        (libc::SYS_ioctl, &[0, 0x5412 /* TIOCSTI */], EPERM),
        (libc::SYS_fcntl, &[0, libc::F_SETFL as u64, libc::O_ASYNC as u64], EPERM),
        (libc::SYS_mmap, &[0, 0, (libc::PROT_READ | libc::PROT_EXEC) as u64], EPERM),
        (libc::SYS_mprotect, &[0, 0, libc::PROT_EXEC as u64], EPERM),
    ] {
        assert_eq!(answer(&profile, NATIVE, call as u32, arguments), expected, "{call} {arguments:?}");
    }
}

/// Whatever the arguments are, these lists and nothing else.
#[track_caller]
fn allows_what_keeping_needs(profile: &Profile) {
    let lists = [supervisor::ALLOWED, supervisor::ALLOWED_OLD, supervisor::KEEPING, supervisor::KEEPING_OLD];
    let plain: Vec<c_long> = lists.concat();
    for number in 0..=NEWEST {
        let expected = if plain.contains(&c_long::from(number)) { ALLOW } else { EPERM };
        assert_eq!(answer(profile, NATIVE, number, &[u64::MAX; 6]), expected, "{number}");
    }
}

#[test]
fn a_supervisor_that_keeps_files_fresh_makes_new_ones_and_changes_none() {
    let profile = Profile::keeping(APP, OWN, WORKER, 0);
    let run = |call: c_long, arguments: &[u64]| answer(&profile, NATIVE, call as u32, arguments);
    allows_what_keeping_needs(&profile);
    let opened = |flags: i32| run(libc::SYS_openat, &[3, 0, flags as u64]);
    let new = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    for flags in [libc::O_RDONLY | libc::O_DIRECTORY, new | libc::O_WRONLY, new | libc::O_RDWR] {
        assert_eq!(opened(flags), ALLOW, "{flags:#o}");
    }
    let through_a_link = new & !libc::O_NOFOLLOW;
    for flags in
        [libc::O_WRONLY, libc::O_RDWR, new & !libc::O_EXCL, through_a_link, new | libc::O_TRUNC, libc::O_TMPFILE]
    {
        assert_eq!(opened(flags | libc::O_RDWR), EPERM, "{flags:#o}");
    }
    for (call, arguments, expected) in [
        (libc::SYS_kill, &[WORKER as u64, 9][..], ALLOW),
        (libc::SYS_kill, &[WORKER as u64, 15], EPERM),
        (libc::SYS_fchmod, &[3, 0o755], ALLOW),
        (libc::SYS_fchmod, &[3, 0o4755], EPERM),
        (libc::SYS_fchown, &[3, 0, 0], EPERM),
        (libc::SYS_setfsgid, &[0], EPERM),
        (libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 0], ALLOW),
        (libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 1], EPERM),
    ] {
        assert_eq!(run(call, arguments), expected, "{call} {arguments:?}");
    }
    let with = |capability: u8| Profile::keeping(APP, OWN, WORKER, 1 << capability);
    assert_eq!(answer(&with(CHOWN), NATIVE, libc::SYS_fchown as u32, &[]), ALLOW);
    assert_eq!(answer(&with(SETGID), NATIVE, libc::SYS_setfsgid as u32, &[]), ALLOW);
}

#[test]
fn a_keeper_without_an_app_signals_its_worker_alone_and_touches_no_terminal() {
    let profile = Profile::of_keeper(Pid::from_raw(WORKER), 0);
    let run = |call: c_long, arguments: &[u64]| answer(&profile, NATIVE, call as u32, arguments);
    allows_what_keeping_needs(&profile);
    let number = |pid: i32| u64::from(pid.cast_unsigned());
    assert_eq!(run(libc::SYS_kill, &[number(WORKER), 9]), ALLOW);
    for (target, signal) in [(WORKER, 15), (0, 15), (OWN, 15), (APP, 15), (-1, 9), (-WORKER, 9)] {
        assert_eq!(run(libc::SYS_kill, &[number(target), signal]), EPERM, "{target}");
    }
    for (call, arguments) in [
        (libc::SYS_ioctl, &[0, 0x5410 /* TIOCSPGRP */][..]),
        (libc::SYS_rt_sigqueueinfo, &[number(WORKER), 40]),
        (libc::SYS_fchown, &[3, 0, 0]),
        (libc::SYS_setfsgid, &[0]),
    ] {
        assert_eq!(run(call, arguments), EPERM, "{call} {arguments:?}");
    }
}
