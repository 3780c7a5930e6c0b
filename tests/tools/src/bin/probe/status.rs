//! The process's credentials, limits and inherited attributes.

use std::fs;

use serde_json::{Map, Value, json};

const LIMITS: [(&str, u32); 16] = [
    ("CPU", libc::RLIMIT_CPU as u32),
    ("FSIZE", libc::RLIMIT_FSIZE as u32),
    ("DATA", libc::RLIMIT_DATA as u32),
    ("STACK", libc::RLIMIT_STACK as u32),
    ("CORE", libc::RLIMIT_CORE as u32),
    ("RSS", libc::RLIMIT_RSS as u32),
    ("NPROC", libc::RLIMIT_NPROC as u32),
    ("NOFILE", libc::RLIMIT_NOFILE as u32),
    ("MEMLOCK", libc::RLIMIT_MEMLOCK as u32),
    ("AS", libc::RLIMIT_AS as u32),
    ("LOCKS", libc::RLIMIT_LOCKS as u32),
    ("SIGPENDING", libc::RLIMIT_SIGPENDING as u32),
    ("MSGQUEUE", libc::RLIMIT_MSGQUEUE as u32),
    ("NICE", libc::RLIMIT_NICE as u32),
    ("RTPRIO", libc::RLIMIT_RTPRIO as u32),
    ("RTTIME", libc::RLIMIT_RTTIME as u32),
];

/// Masks as hexadecimal text, just as the kernel prints them; ids as numbers, real, effective, saved and filesystem.
pub fn all() -> Value {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(rest.trim().to_owned())
    };
    let numbers = |name: &str| {
        let words = line(name)?;
        words.split_ascii_whitespace().map(|word| word.parse::<u64>().ok()).collect::<Option<Vec<_>>>()
    };
    let masks = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"];
    let mut all: Map<String, Value> = masks.iter().map(|name| ((*name).to_owned(), json!(line(name)))).collect();
    for name in ["NoNewPrivs", "Seccomp", "Seccomp_filters", "Threads"] {
        all.insert(name.to_owned(), json!(line(name).and_then(|number| number.parse::<u64>().ok())));
    }
    // SAFETY: takes no pointer.
    let pid = unsafe { libc::getpid() };
    // SAFETY: as above.
    let ppid = unsafe { libc::getppid() };
    let more = json!({
        "pid": pid,
        "ppid": ppid,
        "uids": numbers("Uid"),
        "gids": numbers("Gid"),
        "groups": numbers("Groups"),
        "umask": line("Umask"),
        "securebits": prctl(libc::PR_GET_SECUREBITS),
        "dumpable": prctl(libc::PR_GET_DUMPABLE),
        "keepcaps": prctl(libc::PR_GET_KEEPCAPS),
        "subreaper": subreaper(),
        "pdeathsig": death_signal(),
        "cwd": std::env::current_dir().map(|path| path.to_string_lossy().into_owned()).ok(),
        "nice": nice(),
        "rlimits": LIMITS.iter().map(|(name, resource)| ((*name).to_owned(), limit(*resource))).collect::<Map<_, _>>(),
    });
    if let Value::Object(more) = more {
        all.extend(more);
    }
    Value::Object(all)
}

fn prctl(operation: libc::c_int) -> i32 {
    // SAFETY: the operations above take no pointer and ignore the other arguments.
    unsafe { libc::prctl(operation, 0, 0, 0, 0) }
}

fn subreaper() -> i32 {
    let mut value: libc::c_int = -1;
    // SAFETY: the kernel writes one int to the pointer, which is valid for the call.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut value, 0, 0, 0) };
    value
}

fn death_signal() -> i32 {
    let mut value: libc::c_int = -1;
    // SAFETY: the kernel writes one int to the pointer, which is valid for the call.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut value, 0, 0, 0) };
    value
}

fn nice() -> i32 {
    // SAFETY: takes no pointer; 0 is this process.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// `[soft, hard]`; null is no limit.
fn limit(resource: u32) -> Value {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the call, which fills it in. (The type of `resource` differs between C libraries.)
    unsafe { libc::getrlimit(resource as _, &raw mut limit) };
    let number = |value| if value == libc::RLIM_INFINITY { Value::Null } else { json!(value) };
    json!([number(limit.rlim_cur), number(limit.rlim_max)])
}
