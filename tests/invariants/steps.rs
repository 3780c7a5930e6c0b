//! The privileged steps in the order that ARCHITECTURE.md gives, as the kernel saw them.

use crate::support::{Directory, Run, Trace, needs_program, needs_root};

#[test]
fn the_privileged_steps_run_in_the_documented_order() {
    needs_root!();
    needs_program!("strace");
    let target = Directory::in_memory();
    let config = format!(
        "[app]\nuser = \"1234:4321\"\ngroups = [\"77\"]\nkeep_capabilities = [\"NET_BIND_SERVICE\"]\n\
        [files]\ndir = \"{}\"\n[secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:b\"\nfd = \"auto\"\n",
        target.text()
    );
    let start = ["--rlimit", "CORE=4096", "--groups", "0,4", "--ambient", "chown,net_bind_service", "--open-junk", "3"];
    let (outcome, trace) = Trace::of(Run::new().config(&config).confine(&start));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let into_directory = format!("{}\", O_", target.path().file_name().expect("a name").display());
    // Each is the first call of its kind; one begins after the one before has ended.
    let steps = [
        ("prctl", "PR_SET_DUMPABLE, SUID_DUMP_DISABLE"),
        ("prlimit64", "RLIMIT_CORE, {rlim_cur=0, rlim_max=4"),
        ("rt_sigprocmask", "SIG_BLOCK, [HUP INT QUIT USR1 USR2 TERM RTMIN RT_1"),
        ("openat", "handfast-1.toml"),
        ("close_range", "3, 4294967295, 0"),
        ("socketpair", "AF_UNIX"),
        // While the worker locks itself up.
        ("openat", "/proc/thread-self/status"),
        ("openat", "/proc/swaps"),
        ("openat", &into_directory),
        ("sendto", "<socket:"),
        ("wait4", "WIFEXITED(s)"),
        ("mkdirat", "\"..handfast\""),
        ("fcntl", "F_OFD_SETLK"),
        ("mkdirat", "\"..handfast_"),
        ("symlinkat", "..data"),
        ("fcntl", "F_ADD_SEALS"),
        ("renameat2", "\"..handfast_"),
        ("renameat2", "\"a\""),
        ("renameat2", "\"..data\""),
        ("readlinkat", "\"..data\""),
        ("fchown", "<pipe:"),
        ("prlimit64", "RLIMIT_CORE, {rlim_cur=0, rlim_max=0}"),
        ("prctl", "PR_CAPBSET_DROP"),
        ("prctl", "PR_CAP_AMBIENT_CLEAR_ALL"),
        ("setgroups", "1, [77]"),
        ("setresgid", "4321, 4321, 4321"),
        ("setresuid", "1234, 1234, 1234"),
        (
            "capset",
            "effective=1<<CAP_NET_BIND_SERVICE, permitted=1<<CAP_NET_BIND_SERVICE, inheritable=1<<CAP_NET_BIND_SERVICE",
        ),
        ("prctl", "PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE"),
        ("prctl", "PR_SET_NO_NEW_PRIVS, 1"),
        ("close_range", "4, 4294967295, 0"),
        ("execve", "/probe\", [\""),
    ];
    let mut before = trace.first(steps[0].0, steps[0].1);
    for (name, argument) in &steps[1..] {
        let step = trace.first(name, argument);
        assert!(step.began > before.ended, "{step:?} before {before:?}");
        before = step;
    }
    // The read-back is between the last change and the app: nothing but signals comes after it.
    let last = trace.first("prctl", "PR_SET_NO_NEW_PRIVS, 1").ended;
    let after: Vec<_> = trace.privileged().filter(|call| call.began > last).collect();
    let refused = |name: &str| after.iter().any(|call| call.name == name && call.result.starts_with("-1 EPERM"));
    assert!(refused("setresuid") && refused("setresgid"), "{after:#?}");
    let read = after.iter().rposition(|call| call.arguments.contains("\"/proc/")).expect("it reads back");
    for call in &after[read..] {
        let harmless = [
            "open",
            "openat",
            "read",
            "readv",
            "stat",
            "lstat",
            "close",
            "fcntl",
            "fstatfs",
            "statx",
            "newfstatat",
            "fstat",
            "getdents64",
            "lseek",
            "rt_sigaction",
            "rt_sigprocmask",
            "rt_sigpending",
            "execve",
            "getpid",
            "prlimit64",
            "prctl",
            "munmap",
            "mmap",
            "brk",
            "madvise",
        ];
        assert!(harmless.contains(&call.name.as_str()), "{call:?}");
    }
}
