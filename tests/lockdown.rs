//! The stage `lockdown` from every state that handfast can be started in, then exec: the app reads its own status.
//!
//! Ids belong to a process, so each case runs in processes of its own: `setpriv` makes the start state, this binary (called
//! with `subject`) locks itself down and becomes `cat /proc/self/status`.
#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "the test starts programs, and compares with how they start directly")]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Command, Output, exit};

use handfast::launch::{self, Prepared};
use handfast::lockdown::{self, CoreLimit};
use handfast::plan::Isolation;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|word| word == "subject") {
        subject(&arguments[2..]);
    }
    let out = run(&[], &["uid=1000", "gid=1000"]);
    println!("{} {}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let _: BTreeMap<u8, u8> = BTreeMap::new();
}

fn run(before: &[&str], plan: &[&str]) -> Output {
    let own = std::env::current_exe().unwrap();
    let mut words: Vec<OsString> = before.iter().map(OsString::from).collect();
    words.extend([own.into(), "subject".into()]);
    words.extend(plan.iter().map(OsString::from));
    Command::new(&words[0]).args(&words[1..]).output().unwrap()
}

/// `uid=… gid=… groups=…,… keep=<hex> core_dumps strict open=N,…`: locks down as handfast does and becomes `cat`.
fn subject(words: &[String]) -> ! {
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(&format!("{key}=")));
    let list = |key: &str| -> Vec<u32> {
        value(key).unwrap_or_default().split(',').filter(|item| !item.is_empty()).map(|n| n.parse().unwrap()).collect()
    };
    let isolation = Isolation {
        uid: value("uid").unwrap().parse().unwrap(),
        gid: value("gid").unwrap().parse().unwrap(),
        groups: list("groups"),
        defaulted: false,
        capabilities: u64::from_str_radix(value("keep").unwrap_or("0"), 16).unwrap(),
        core_dumps: words.iter().any(|word| word == "core_dumps"),
        strict: words.iter().any(|word| word == "strict"),
    };
    let keep_open: Vec<i32> = list("open").into_iter().map(u32::cast_signed).collect();
    let error = start(&isolation, &keep_open);
    eprintln!("{:?}: {} ({})", error.class, error.message, error.hint.as_deref().unwrap_or("no hint"));
    exit(error.class.exit_code().into());
}

fn start(isolation: &Isolation, keep_open: &[i32]) -> handfast::error::Error {
    let started = || {
        let core_limit = CoreLimit::suspend()?;
        lockdown::refuse_impossible(isolation)?;
        let program = launch::resolve("cat".as_ref(), None, isolation)?;
        let command = ["cat", "/proc/self/status", "/proc/self/limits"].map(OsString::from);
        let prepared = Prepared::new(&program, &command, &[])?;
        let locked = lockdown::lock(isolation, keep_open, core_limit)?;
        Ok(launch::exec(locked, &prepared, &[]))
    };
    started().unwrap_or_else(|error| error)
}
