//! Invariant 3: the process that holds privileges opens no socket but the worker's socketpair, and parses nothing that a
//! provider sent. Fetching happens in a forked, sandboxed worker, reaped before anything is delivered.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Call, Directory, Outcome, Run, Running, Trace, needs_program, needs_root, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A run with a file and a descriptor, from `file` (with a field and by `#*`) and `mock`.
struct Traced {
    target: Directory,
    source: Directory,
    config: Directory,
    outcome: Outcome,
    trace: Trace,
}

impl Traced {
    fn new() -> Self {
        let (target, source, config) = (Directory::in_memory(), Directory::in_memory(), Directory::new());
        source.write("object", r#"{"a":"field-a","b":"field-b"}"#);
        source.write("token", "the-token");
        let text = format!(
            "[files]\ndir = \"{}\"\n[secrets.field]\nfrom = \"file:{source}/object#a\"\n\
            [secrets.all]\nfrom = \"file:{source}/object#*\"\nfile = \"all-*\"\n\
            [secrets.token]\nfrom = \"file:{source}/token\"\nfd = \"auto\"\n[secrets.made-up]\nfrom = \"mock:db\"\n",
            target.text(),
            source = source.text()
        );
        let path = config.write("handfast.toml", text);
        let (outcome, trace) = Trace::of(Run::new().arg("--config").arg(path).arg("--user").arg("nobody"));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        Self { target, source, config, outcome, trace }
    }
}

const OPENS: [&str; 5] = ["open", "openat", "openat2", "creat", "name_to_handle_at"];

#[test]
fn the_privileged_process_opens_no_socket_but_the_workers() {
    needs_root!();
    needs_program!("strace");
    let run = Traced::new();
    assert!(run.outcome.app_ran(), "{:?}", run.outcome);
    let made: Vec<&str> =
        run.trace.privileged().map(|call| call.name.as_str()).filter(|name| name.starts_with("socket")).collect();
    assert_eq!(made, ["socketpair"]);
    assert!(run.trace.first("socketpair", "AF_UNIX").succeeded());
    // It hears the worker and says nothing to it but when to begin, and nothing to anybody else.
    let speaking =
        ["connect", "sendto", "sendmsg", "sendmmsg", "accept", "accept4", "bind", "listen", "io_uring_setup"];
    let spoken: Vec<&Call> = run.trace.privileged().filter(|call| speaking.contains(&call.name.as_str())).collect();
    assert!(matches!(spoken[..], [begin] if begin.name == "sendto" && begin.result == "1"), "{spoken:#?}");
    let on_socket = |call: &&Call| call.arguments.split(',').next().is_some_and(|first| first.contains("<socket:"));
    for call in run.trace.privileged().filter(on_socket) {
        assert!(
            ["recvfrom", "read", "sendto", "fcntl", "close", "poll", "ppoll"].contains(&call.name.as_str()),
            "{call:?}"
        );
    }
}

#[test]
fn the_privileged_process_reads_only_what_is_listed() {
    needs_root!();
    needs_program!("strace");
    let run = Traced::new();
    let target = run.target.path();
    let allowed = |path: &str| {
        let path = Path::new(path);
        let loader = [".so", ".so.1", ".so.2", ".so.6", "ld.so.cache"];
        path == run.config.path().join("handfast.toml")
            || ["/etc/passwd", "/etc/group"].iter().any(|file| path == Path::new(file))
            || path.starts_with("/proc")
            // The files directory, what is in it, and on the way to it.
            || path.starts_with(target)
            || target.starts_with(path)
            || program("probe").starts_with(path)
            || path.to_string_lossy().starts_with("/memfd:secret")
            // What the dynamic loader opens before main; the shipped binary has none.
            || loader.iter().any(|end| path.to_string_lossy().ends_with(end))
    };
    // Places on the way to the configuration, to handfast itself and to the app's descriptors, which are looked at and not read.
    let way = |call: &Call| {
        let path = Path::new(call.opened());
        let leads = run.config.path().starts_with(path)
            || program("handfast").starts_with(path)
            // Whether the app can open its descriptors by path.
            || Path::new("/dev/fd").starts_with(path);
        leads && call.arguments.contains("O_PATH")
    };
    let opened: Vec<&Call> = run.trace.privileged().filter(|call| OPENS.contains(&call.name.as_str())).collect();
    assert!(opened.len() > 8, "{opened:#?}");
    let others: Vec<&&Call> = opened.iter().filter(|call| !allowed(call.opened()) && !way(call)).collect();
    assert!(others.is_empty(), "{others:#?}");
    // The secrets' sources are the worker's business: the privileged process does not even look at them.
    let source = run.source.text();
    let touches = |call: &&Call| call.arguments.contains(source) && !["recvfrom", "read"].contains(&call.name.as_str());
    let touched: Vec<&Call> = run.trace.privileged().filter(touches).collect();
    assert!(touched.is_empty(), "{touched:#?}");
    let by_worker =
        run.trace.worker().filter(|call| OPENS.contains(&call.name.as_str()) && call.opened().contains(source));
    assert!(by_worker.count() >= 2, "object and token: {:#?}", run.trace);
}

#[test]
fn the_worker_is_forked_while_there_is_one_thread_that_nobody_can_read() {
    needs_root!();
    needs_program!("strace");
    let Traced { trace, .. } = Traced::new();
    let forks: Vec<&Call> = trace.privileged().filter(|call| call.forks()).collect();
    assert_eq!(forks.len(), 1, "one fork, and no thread ever: {forks:#?}");
    let fork = forks[0];
    assert!(!fork.arguments.contains("CLONE_THREAD") && !fork.arguments.contains("CLONE_VM"), "{fork:?}");
    assert!(trace.first("prctl", "PR_SET_DUMPABLE, SUID_DUMP_DISABLE").ended < fork.began);
    // Soft 0 was read, or was set.
    let limit = |call: &&Call| call.name == "prlimit64" && call.arguments.contains("RLIMIT_CORE, ");
    assert!(
        trace.privileged().any(|call| limit(&call) && call.arguments.contains("rlim_cur=0") && call.ended < fork.began)
    );
    // The worker's cage stands before it opens anything but what takes the place of the app's stdin and stdout, and the places
    // that Landlock's rules are about (O_PATH: not to be read).
    let worker: Vec<&Call> = trace.worker().collect();
    let at = |name: &str, argument: &str| {
        let found = worker.iter().find(|call| call.name == name && call.arguments.contains(argument));
        found.unwrap_or_else(|| panic!("no {name}({argument}) in {worker:#?}")).ended
    };
    let steps = [
        at("prctl", "PR_SET_PDEATHSIG, SIGKILL"),
        at("getppid", ""),
        at("prlimit64", "RLIMIT_CORE, {rlim_cur=0, rlim_max=0}"),
        at("close_range", "3, "),
        at("capset", "effective=0, permitted=0, inheritable=0"),
        at("prctl", "PR_SET_NO_NEW_PRIVS, 1"),
        at("landlock_restrict_self", ""),
        worker.iter().find(|call| call.name == "seccomp" && call.succeeded()).expect("a filter").ended,
    ];
    assert!(steps.is_sorted(), "{steps:?}");
    let rules = ["\"/dev/null\"", "O_PATH", "\"/\", O_RDONLY"];
    let opens =
        |call: &&&Call| OPENS.contains(&call.name.as_str()) && !rules.iter().any(|rule| call.arguments.contains(rule));
    let first_open = worker.iter().find(opens).expect("the sources").began;
    assert!(steps[7] < first_open, "{worker:#?}");
}

#[test]
fn no_change_of_credentials_makes_the_privileged_process_readable() {
    needs_root!();
    needs_program!("strace");
    let target = Directory::in_memory();
    let config = format!(
        "[app]\nuser = \"1234:4321\"\n[files]\ndir = \"{}\"\n[secrets.a]\nfrom = \"mock:a\"\n\
         [secrets.b]\nfrom = \"mock:b\"\nfd = \"auto\"\n[secrets.c]\nfrom = \"mock:c\"\nfd = \"auto\"\n",
        target.text()
    );
    // Without CHOWN files too are made with the app's group for a moment.
    let (outcome, trace) = Trace::of(Run::new().config(&config).confine(&["--caps", "SETGID,SETUID,SETPCAP"]));
    outcome.ran();
    // musl holds signals back around a change of ids.
    let calls: Vec<&Call> = trace.privileged().filter(|call| call.name != "rt_sigprocmask").collect();
    let (mut group, mut changes) = ("0", 0);
    for (at, call) in calls.iter().enumerate() {
        let is_change = match call.name.as_str() {
            // An invalid id only asks.
            "setfsgid" if call.arguments == "-1" => false,
            "setfsgid" => std::mem::replace(&mut group, &call.arguments) != call.arguments,
            // The ids change one after the other.
            "setresuid" => call.succeeded(),
            _ => false,
        };
        if is_change {
            changes += 1;
            let after = [calls[at + 1], calls[at + 2]].map(|call| (call.arguments.as_str(), call.succeeded()));
            assert_eq!(after[0], ("PR_SET_DUMPABLE, SUID_DUMP_DISABLE", true), "{call:?}");
            assert_eq!(after[1], ("PR_GET_DUMPABLE", true), "{call:?}");
            assert!(calls[at + 2].result.starts_with("0 "), "{:?}", calls[at + 2]);
        }
    }
    assert!(changes >= 7, "memfds twice, a file, and the app's uid: {changes}");
}

#[test]
fn the_worker_is_reaped_before_anything_is_delivered() {
    needs_root!();
    needs_program!("strace");
    let Traced { trace, target, .. } = Traced::new();
    let reaped = trace.first("wait4", "WIFEXITED(s) && WEXITSTATUS(s) == 0").ended;
    let fork = trace.privileged().find(|call| call.forks()).expect("the worker").began;
    let delivers = |call: &&Call| match call.name.as_str() {
        "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "rename" | "renameat" | "renameat2" | "link" | "linkat" => true,
        "open" | "openat" | "openat2" => call.arguments.contains("O_CREAT"),
        "write" | "writev" | "pwrite64" => call.arguments.contains("memfd:") || call.arguments.contains(target.text()),
        _ => false,
    };
    let delivered: Vec<&Call> = trace.privileged().filter(delivers).collect();
    assert!(delivered.iter().any(|call| call.name == "write" && call.arguments.contains("memfd:")), "{delivered:#?}");
    assert!(delivered.iter().any(|call| call.name.starts_with("rename")), "{delivered:#?}");
    let early: Vec<&&Call> = delivered.iter().filter(|call| call.began < reaped).collect();
    assert!(early.is_empty() && fork < reaped, "{early:#?}");
}

/// A run whose worker waits, and the worker.
fn waiting(user: &str) -> (Running, i32) {
    let config = "[providers.mock]\nlatency = \"10s\"\n[secrets.db]\nfrom = \"mock:db\"\n";
    let mut run = Run::new().config(config).arg("--user").arg(user).spawn();
    let worker = run.worker();
    (run, worker)
}

#[test]
fn the_running_worker_holds_no_privilege_and_no_descriptor_but_its_socket() {
    needs_root!();
    let (run, worker) = waiting("1000:1000");
    let status = fs::read_to_string(format!("/proc/{worker}/status")).expect("it waits");
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Threads:\t1",
    ] {
        assert!(status.lines().any(|found| found == line), "{line}\n{status}");
    }
    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).expect("it waits");
    let core = limits.lines().find(|line| line.starts_with("Max core")).expect("there is one");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let links = |pid: i32| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it waits").flatten();
        let link = |entry: fs::DirEntry| fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
        entries.map(link).collect::<Vec<_>>()
    };
    let sockets = links(worker).iter().filter(|link| link.starts_with("socket:")).count();
    let pipes = links(worker).iter().filter(|link| link.starts_with("pipe:")).count();
    let others: Vec<String> =
        links(worker).into_iter().filter(|link| !link.starts_with("socket:") && !link.starts_with("pipe:")).collect();
    // The pipe is stderr.
    assert_eq!((sockets, pipes), (1, 1), "{:?}", links(worker));
    let (null, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|link| link == "/dev/null");
    assert_eq!(null.len(), 2, "in place of the app's stdin and stdout: {:?}", links(worker));
    assert!(others.iter().all(|link| link.starts_with("anon_inode:[event")), "tokio's own: {others:?}");
    // Owned by root, whatever its uid: nobody without CAP_SYS_PTRACE can look into either.
    for process in [run.pid(), worker] {
        let owner =
            std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{process}/mem")).expect("it waits"));
        assert_eq!(owner, 0);
    }
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.app_ran()), (143, false), "{outcome:?}");
}

#[test]
fn neither_process_outlives_the_other() {
    needs_root!();
    let gone = |pid: i32| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while kill(Pid::from_raw(pid), None).is_ok() {
            assert!(Instant::now() < deadline, "{pid} is still there");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let (run, worker) = waiting("1000:1000");
    run.signal(Signal::SIGKILL);
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.app_ran()), (137, false), "{outcome:?}");
    gone(worker);

    let (run, worker) = waiting("1000:1000");
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it waits");
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.app_ran()), (70, false), "{outcome:?}");
    assert!(outcome.stderr.contains("the worker was killed by SIGKILL"), "{outcome:?}");
}
