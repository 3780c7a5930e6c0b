//! The calls that a fetch makes.

use nix::errno::Errno;

use super::{Call, FIRST, Must, Table, Targets};

const HERE: i64 = libc::AT_FDCWD as i64;
const STREAM: i64 = libc::SOCK_STREAM as i64;
const DATAGRAM: i64 = libc::SOCK_DGRAM as i64;
const INET: i64 = libc::AF_INET as i64;

pub fn add(table: &mut Table, on: &Targets) {
    let scratch = on.scratch;
    let no_time = table.words(&[0, 0]);
    let names = table.text("/etc/resolv.conf");
    let byte = table.text("x");
    let read_only = i64::from(libc::O_RDONLY | libc::O_CLOEXEC);
    let anonymous = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let writable = i64::from(libc::PROT_READ | libc::PROT_WRITE);
    let socket = |kind| Call(libc::SYS_socket, vec![INET, kind | i64::from(libc::SOCK_CLOEXEC), 0]);
    let one = |number, arguments: &[i64]| vec![Call(number, arguments.to_vec())];
    let works: Vec<(&str, Vec<Call>)> = vec![
        (
            "reading_a_file",
            vec![Call(libc::SYS_openat, vec![HERE, on.file, read_only]), Call(libc::SYS_read, vec![FIRST, scratch, 7])],
        ),
        ("reading_how_names_are_resolved", one(libc::SYS_openat, &[HERE, names, read_only])),
        ("a_connection", vec![socket(STREAM), Call(libc::SYS_connect, vec![FIRST, on.server.0, on.server.1])]),
        (
            "a_datagram_sent",
            vec![socket(DATAGRAM), Call(libc::SYS_sendto, vec![FIRST, byte, 1, 0, on.server.0, on.server.1])],
        ),
        (
            "not_to_wait_for_its_socket",
            vec![
                socket(STREAM),
                Call(libc::SYS_fcntl, vec![FIRST, libc::F_GETFL.into()]),
                Call(libc::SYS_fcntl, vec![FIRST, libc::F_SETFL.into(), libc::O_NONBLOCK.into()]),
            ],
        ),
        ("a_copy_of_a_descriptor", one(libc::SYS_fcntl, &[2, libc::F_DUPFD_CLOEXEC.into(), 3])),
        (
            "memory",
            vec![
                Call(libc::SYS_mmap, vec![0, 8192, writable, anonymous, -1, 0]),
                Call(libc::SYS_mprotect, vec![FIRST, 4096, libc::PROT_READ.into()]),
                Call(libc::SYS_munmap, vec![FIRST, 8192]),
            ],
        ),
        ("chance", one(libc::SYS_getrandom, &[scratch, 8, 0])),
        ("waiting_for_descriptors", one(libc::SYS_ppoll, &[scratch, 0, no_time, 0, 8])),
        ("a_wake_up_call", one(libc::SYS_futex, &[scratch, i64::from(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG), 1])),
        ("the_signal_mask", one(libc::SYS_rt_sigprocmask, &[0, 0, scratch, 8])),
        // Calls that no trace shows if there is a vDSO.
        ("clock_gettime", one(libc::SYS_clock_gettime, &[libc::CLOCK_MONOTONIC.into(), scratch])),
        ("gettimeofday", one(libc::SYS_gettimeofday, &[scratch, 0])),
        ("getcpu", one(libc::SYS_getcpu, &[scratch, 0, 0])),
        ("clock_nanosleep", one(libc::SYS_clock_nanosleep, &[libc::CLOCK_MONOTONIC.into(), 0, no_time, 0])),
    ];
    for (name, calls) in works {
        table.add(Must::Work, name, calls);
    }
    // The C library's resolver does this, and nothing else needs it.
    let bound = vec![socket(DATAGRAM), Call(libc::SYS_bind, vec![FIRST, on.anywhere.0, on.anywhere.1])];
    table.add(if on.has_unix { Must::Fail } else { Must::Work }, "a_bound_datagram", bound);
    // Without a call to restart, it fails with EINTR.
    table.add(Must::EndWith(Errno::EINTR), "restart_syscall", one(libc::SYS_restart_syscall, &[]));
    interrupted(table);
    told(table, on);
}

/// Calls that continue after a stop only because the kernel may restart them.
fn interrupted(table: &mut Table) {
    let a_moment = table.words(&[0, 300_000_000]);
    let monotonic = libc::CLOCK_MONOTONIC.into();
    let sleep = Call(libc::SYS_clock_nanosleep, vec![monotonic, 0, a_moment, 0]);
    table.add_interrupted(Must::Work, "a_sleep_that_is_stopped", sleep);
    // aarch64 has only ppoll, which restarts by itself.
    #[cfg(target_arch = "x86_64")]
    table.add_interrupted(Must::Work, "a_poll_that_is_stopped", Call(libc::SYS_poll, vec![0, 0, 300]));
    let wait = i64::from(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG);
    let zero = table.words(&[0]);
    let futex = Call(libc::SYS_futex, vec![zero, wait, 0, a_moment]);
    table.add_interrupted(Must::EndWith(Errno::ETIMEDOUT), "a_futex_that_is_stopped", futex);
}

/// Calls that may work or fail: they affect only the worker.
fn told(table: &mut Table, on: &Targets) {
    let name = table.text("worker");
    let socket = |kind| Call(libc::SYS_socket, vec![INET, kind, 0]);
    let one = |number, arguments: &[i64]| vec![Call(number, arguments.to_vec())];
    let nonblocking = i64::from(libc::O_NONBLOCK | libc::O_WRONLY);
    let list = i64::from(libc::O_RDONLY | libc::O_DIRECTORY);
    let tells: Vec<(&str, Vec<Call>)> = vec![
        ("its_own_name", one(libc::SYS_prctl, &[libc::PR_SET_NAME.into(), name])),
        // Its stderr is a pipe of its own. Another test checks that the app's stderr does not change.
        ("not_to_wait_for_its_stderr", one(libc::SYS_fcntl, &[2, libc::F_SETFL.into(), nonblocking])),
        ("inotify_init1", one(libc::SYS_inotify_init1, &[0])),
        ("membarrier", one(libc::SYS_membarrier, &[0, 0, 0])),
        ("its_own_limit", one(libc::SYS_prlimit64, &[0, libc::RLIMIT_NOFILE as i64, 0, on.scratch])),
        ("its_own_signal", one(libc::SYS_kill, &[on.own, 0])),
        ("getpid", one(libc::SYS_getpid, &[])),
        ("fionbio", vec![socket(DATAGRAM), Call(libc::SYS_ioctl, vec![FIRST, libc::FIONBIO as i64, on.scratch])]),
        (
            "listing_a_directory",
            vec![
                Call(libc::SYS_openat, vec![HERE, on.place, list]),
                Call(libc::SYS_getdents64, vec![FIRST, on.scratch, 4096]),
            ],
        ),
    ];
    for (name, calls) in tells {
        table.add(Must::Anything, name, calls);
    }
    // A terminal is a file that the worker's uid may read.
    if on.terminal != 0 {
        let flags = i64::from(libc::O_RDONLY | libc::O_NOCTTY);
        table.add(Must::Anything, "reading_a_terminal", one(libc::SYS_openat, &[HERE, on.terminal, flags]));
    }
}
