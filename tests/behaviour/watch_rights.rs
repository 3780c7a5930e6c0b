//! `watch`: what its privileged process may still do once the first set is published, and that this is enough.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::supervised::{descriptors, status};
use crate::support::{Directory, Outcome, Run, Running, needs_root};
use crate::watch::{CHANGING, changed, content, ready, unready};

const NONE: &str = "0000000000000000";
/// CHOWN and FOWNER.
const FOR_OWNERS: &str = "0000000000000009";
const FOR_GROUPS: &str = "0000000000000040";
const PATIENCE: Duration = Duration::from_secs(15);

/// A keeper of files of this user, as a process that has these rights.
fn keeper(user: &str, directory: &Directory, rights: &[&str]) -> Running {
    let running = of(user, directory).confine(rights).spawn();
    ready(directory, PATIENCE);
    running
}

fn of(user: &str, directory: &Directory) -> Run {
    unready(&format!("[app]\nuser = \"{user}\"\ncore_dumps = true\n{CHANGING}"), directory)
}

fn sets(pid: i32) -> [String; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"].map(|set| status(pid, set))
}

/// Owner, group and mode.
fn access(directory: &Directory, name: &str) -> (u32, u32, u32) {
    let status = fs::metadata(directory.path().join(name)).expect("it is there");
    (status.uid(), status.gid(), status.mode() & 0o7777)
}

/// Waits for later sets, each with the files as in the first one, then for the end by TERM.
#[track_caller]
fn goes_on(keeper: Running, directory: &Directory) -> Outcome {
    let first = ["db", "still"].map(|name| access(directory, name));
    let mut before = content(directory, "db");
    for _ in 0..2 {
        before = changed(directory, "db", &before, PATIENCE);
        assert_eq!(["db", "still"].map(|name| access(directory, name)), first);
    }
    keeper.signal(Signal::SIGHUP);
    changed(directory, "db", &before, PATIENCE);
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome
}

#[test]
fn a_keeper_of_anothers_files_keeps_chown_and_fowner_and_nothing_else() {
    needs_root!();
    let directory = Directory::in_memory();
    let keeper = keeper("1234:4321", &directory, &["--ambient", "chown", "--rlimit", "CORE=4096"]);
    let pid = keeper.pid();
    assert_eq!(sets(pid), [NONE, FOR_OWNERS, FOR_OWNERS, NONE, NONE]);
    assert_eq!((status(pid, "NoNewPrivs"), status(pid, "Seccomp")), ("1".into(), "2".into()));
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it is there");
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{cores}");
    for (number, target) in descriptors(pid).into_iter().filter(|(number, _)| *number > 2) {
        let target = target.display().to_string();
        let is_known =
            ["socket:", "pipe:", "anon_inode:", directory.text()].iter().any(|start| target.starts_with(start));
        assert!(is_known, "{number} is {target}");
    }
    assert_eq!(access(&directory, "db"), (1234, 4321, 0o400));
    goes_on(keeper, &directory).says("info: SIGHUP: every secret is read again\n");
}

#[test]
fn a_keeper_of_its_own_files_keeps_no_capability() {
    needs_root!();
    let directory = Directory::in_memory();
    let config = format!("[app]\nuser = \"0:0\"\nallow_root = true\n{CHANGING}");
    let keeper = unready(&config, &directory).spawn();
    ready(&directory, PATIENCE);
    assert_eq!(sets(keeper.pid()), [NONE; 5]);
    assert_eq!(status(keeper.pid(), "Seccomp"), "2");
    goes_on(keeper, &directory);
}

#[test]
fn a_user_keeps_its_files_fresh_without_any_right_and_unread_by_others_of_its_uid() {
    needs_root!();
    let directory = Directory::in_memory();
    chown(directory.path(), Some(1234), Some(1234)).expect("root may");
    let keeper = keeper("1234:1234", &directory, &["--uid", "1234", "--gid", "1234", "--groups", "none"]);
    let [inheritable, permitted, effective, ambient, _] = sets(keeper.pid());
    assert_eq!([inheritable, permitted, effective, ambient], [NONE; 4]);
    assert_eq!((status(keeper.pid(), "NoNewPrivs"), status(keeper.pid(), "Seccomp")), ("1".into(), "2".into()));
    for place in ["environ", "maps"] {
        let path = format!("/proc/{}/{place}", keeper.pid());
        let looked =
            Command::new("cat").arg(&path).uid(1234).gid(1234).stderr(Stdio::piped()).output().expect("there is cat");
        let said = String::from_utf8_lossy(&looked.stderr);
        assert!(!looked.status.success() && said.contains("Permission denied"), "{path}: {said}");
    }
    goes_on(keeper, &directory);
}

#[test]
fn without_chown_the_group_alone_changes_hands() {
    needs_root!();
    let directory = Directory::in_memory();
    let keeper = keeper("1234:4321", &directory, &["--caps", "setgid,dac_override,kill"]);
    let [_, permitted, effective, ..] = sets(keeper.pid());
    assert_eq!([permitted, effective], [FOR_GROUPS; 2]);
    assert_eq!(access(&directory, "db"), (0, 4321, 0o440));
    assert_eq!(status(keeper.pid(), "Seccomp"), "2");
    goes_on(keeper, &directory);
}

#[test]
fn a_bounding_set_that_stays_is_told_and_refused_before_the_fetch_under_strict() {
    needs_root!();
    let directory = Directory::in_memory();
    let without = ["--caps", "chown,fowner,setuid,setgid"];
    let keeper = keeper("1234:4321", &directory, &without);
    let [.., bounding] = sets(keeper.pid());
    assert_ne!(bounding, NONE);
    goes_on(keeper, &directory).says("info: the capability bounding set stays as found");
    let failing = "[app]\nuser = \"1234:4321\"\nstrict = true\n[providers.gone]\ntype = \"mock\"\nfail = \"not-found\"\n[secrets.a]\nfrom = \"gone:a\"\n";
    let message = "the capability bounding set stays as found: changing it needs the capability SETPCAP";
    unready(failing, &directory).confine(&without).start().refused(125, message);
    let check = Run::command("check").config(failing).args(["--for", "watch", "--dir", directory.text()]);
    let check = check.confine(&without).start();
    assert_eq!(check.code, 125, "{check:?}");
    check.says(message);
}

#[test]
fn a_directory_that_could_not_be_written_later_is_refused_before_the_fetch() {
    needs_root!();
    let directory = Directory::tmpfs("mode=0700,uid=1234,gid=1234");
    let failing = "[app]\nuser = \"1234:1234\"\n[providers.gone]\ntype = \"mock\"\nfail = \"not-found\"\n[secrets.a]\nfrom = \"gone:a\"\n";
    let message = format!("cannot write into `{}`: permission denied", directory.text());
    unready(failing, &directory).start().refused(73, &message);
    let check = Run::command("check").config(failing).args(["--for", "watch", "--dir", directory.text()]).start();
    assert_eq!(check.code, 73, "{check:?}");
    // `init` writes once, while it has DAC_OVERRIDE.
    let init = Run::command("init").config("[app]\nuser = \"1234:1234\"\n[secrets.a]\nfrom = \"mock:a\"\n");
    let init = init.args(["--dir", directory.text()]).start();
    assert_eq!(init.code, 0, "{init:?}");
}

#[test]
fn a_keeper_that_is_not_what_it_must_be_ends_with_125() {
    needs_root!();
    let directory = Directory::in_memory();
    let outcome = of("1234:4321", &directory).confine(&["--deny", "prctl-bounding=0"]).start();
    outcome.refused(125, "bounding capabilities");
    let denied = ["--deny", "seccomp=ENOSYS,prctl-seccomp=EINVAL"];
    let keeper = keeper("1234:4321", &directory, &denied);
    goes_on(keeper, &directory).says("warn: `watch` runs without seccomp: this kernel or container does not let it\n");
    let config = format!("[app]\nuser = \"1234:4321\"\nstrict = true\n{CHANGING}");
    unready(&config, &directory).confine(&denied).start().refused(125, "the worker would run without");
}

#[test]
fn check_says_what_becomes_of_the_keeper() {
    needs_root!();
    let directory = Directory::in_memory();
    for (format, expected) in [
        ("text", "keeper        stays as uid 0, capabilities CHOWN, FOWNER\n"),
        ("json", "\"keeper\": {\n    \"capabilities\": [\n      \"CHOWN\",\n      \"FOWNER\"\n    ],\n    \"uid\": 0"),
    ] {
        let check = Run::command("check").config("[app]\nuser = \"1234:4321\"\n[secrets.a]\nfrom = \"mock:a\"\n");
        let check = check.args(["--for", "watch", "--format", format, "--dir", directory.text()]).start();
        assert_eq!(check.code, 0, "{check:?}");
        assert!(String::from_utf8_lossy(&check.stdout).contains(expected), "{check:?}");
    }
}

#[test]
fn check_says_what_becomes_of_an_end() {
    let directory = Directory::in_memory();
    let vault = "[providers.vault]\naddress = \"https://vault.internal\"\nmounts = { kv = \"kv-v2\" }\n";
    for (purpose, secret, expected) in [
        (
            "watch",
            "from = \"vault:kv/a#b\"",
            "read again each 5m ± 10 %, and before its end where it has one; a change: new files\n",
        ),
        (
            "supervise",
            "from = \"vault:database/creds/web\"\nfd = 3",
            "never read again: the app keeps the descriptor that it was started with, and a lease is renewed as long as the store lets it\n",
        ),
    ] {
        let check = Run::command("check").config(&format!("{vault}[secrets.a]\n{secret}\n")).env("VAULT_TOKEN", "t");
        let check = check.args(["--for", purpose, "--dir", directory.text()]).start();
        assert!(String::from_utf8_lossy(&check.stdout).contains(expected), "{check:?}");
    }
}
