//! The process' credentials, limits and inherited attributes.

use std::fs;

use handfast_testtools::limits::LIMITS;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use serde_json::{Map, Value, json};

/// Masks are hexadecimal text in the kernel's format; ids are numbers: real, effective, saved and file system id.
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

/// `[soft, hard]`; null means no limit.
fn limit(resource: Resource) -> Value {
    let number = |value| if value == RLIM_INFINITY { Value::Null } else { json!(value) };
    getrlimit(resource).map_or(Value::Null, |(soft, hard)| json!([number(soft), number(hard)]))
}
