//! What the app gets from its start, and what the supervisor holds of it.

use std::fs;

use nix::unistd::{Pid, getpgid, getsid};
use serde_json::Value;

use super::signals::ranges;
use super::{Facts, Peer, Scenario, yes_or_no};
use crate::supervised::{Supervised, descriptors};
use crate::support::{Directory, PATH, Run, program, programs};

pub const SCENARIOS: &[Scenario] = &[words, variables, dispositions, attributes, open_descriptors, family];

fn probe() -> String {
    program("probe").display().to_string()
}

/// What the probe sees of itself.
fn seen(run: Run) -> Value {
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.probe()
}

fn words(peer: &Peer) -> Facts {
    let arguments = |report: &Value| report["argv"].to_string().replace(&probe(), "PROBE");
    let odd = seen(peer.run(&[&probe(), "", "two words", "", "-x", "$HOME", "\n", "é"]));
    let options = peer.run(&["/bin/sh", "-c", "echo \"$0 $*\"", "--", "--", "-h"]).start();
    let path = format!("/no/such:{}:{PATH}", programs().display());
    let by_name = seen(peer.run(&["probe"]).env("PATH", path));
    vec![
        ("arguments", arguments(&odd)),
        ("arguments like options", String::from_utf8_lossy(&options.stdout).trim().into()),
        ("the name of a program that is found in PATH", arguments(&by_name)),
    ]
}

fn variables(peer: &Peer) -> Facts {
    let own = [("EMPTY", ""), ("TWO_LINES", "a\nb"), ("ODD NAME", "x=y"), ("HOME", "/none"), ("NOTIFY_SOCKET", "@x")];
    let foreign = [("LISTEN_PID", "999999"), ("LISTEN_FDS", "2")];
    let store = [("VAULT_ADDR", "http://127.0.0.1"), ("VAULT_TOKEN", "token")];
    let run = [&own[..], &foreign, &store]
        .concat()
        .iter()
        .fold(peer.run(&[probe()]), |run, (name, value)| run.env(name, value));
    let report = seen(run);
    let mut all: Vec<&str> =
        report["environ_list"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    all.sort_unstable();
    let (stores, others): (Vec<&str>, Vec<&str>) = all.into_iter().partition(|variable| variable.starts_with("VAULT"));
    let (sockets, others): (Vec<&str>, Vec<&str>) =
        others.into_iter().partition(|variable| variable.starts_with("LISTEN"));
    vec![
        ("variables", others.join(" ").replace(PATH, "…").replace(peer.files.text(), "…")),
        ("variables of sockets for another process", sockets.join(" ")),
        ("variables of a store", stores.join(" ")),
    ]
}

fn dispositions(peer: &Peer) -> Facts {
    let signals = |options: &[&str]| {
        let report = seen(peer.run(&[probe()]).confine(options));
        let numbers = |name: &str| {
            let mask =
                report["status"][name].as_str().and_then(|mask| u64::from_str_radix(mask, 16).ok()).expect("a mask");
            ranges(&(1..=64).filter(|number| mask & 1 << (number - 1) != 0).collect::<Vec<u8>>())
        };
        format!(
            "ignored: {}, blocked: {}, pending: {}{}",
            numbers("SigIgn"),
            numbers("SigBlk"),
            numbers("SigPnd"),
            numbers("ShdPnd")
        )
    };
    vec![
        ("signals of an ordinary start", signals(&[])),
        ("signals that were ignored", signals(&["--ignore", "INT,SEGV,TTIN,TTOU,PIPE,HUP,USR1,36"])),
        ("signals that were blocked", signals(&["--block", "TERM,ILL,TTIN,CONT,TSTP,CHLD,40"])),
    ]
}

/// The lines of the probe's status that differ nowhere unless a supervisor changes them.
const ATTRIBUTES: [&str; 17] = [
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "uids",
    "gids",
    "groups",
    "umask",
    "securebits",
    "dumpable",
    "subreaper",
    "pdeathsig",
    "cwd",
    "nice",
];

fn attributes(peer: &Peer) -> Facts {
    let more =
        ["/proc/self/timerslack_ns", "/proc/self/oom_score_adj", "/proc/self/coredump_filter", "/proc/self/cgroup"];
    let run = peer.run(&[probe()]).args_of_app(&more.map(|path| ["--read", path]).concat());
    let limits = ["NOFILE=100:200", "CORE=4096", "STACK=4194304:8388608", "NPROC=3000", "FSIZE=1000000"];
    let run = run.confine(&limits.map(|limit| ["--rlimit", limit]).concat());
    let report = seen(run.confine(&["--umask", "027", "--nice", "3", "--cwd", "/usr/share"]));
    let status = &report["status"];
    let mut facts: Facts = ATTRIBUTES.iter().map(|name| (*name, status[*name].to_string())).collect();
    facts.push(("the limit of core files", status["rlimits"]["CORE"].to_string()));
    let mut others = status["rlimits"].clone();
    others.as_object_mut().expect("a table").remove("CORE");
    facts.push(("other limits", others.to_string()));
    facts.push(("what else /proc says", report["read"].to_string()));
    facts
}

fn open_descriptors(peer: &Peer) -> Facts {
    let list = |options: &[&str]| {
        let report = Directory::new();
        let file = report.write("report", "");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("it is ours");
        let run = peer.run(&[probe()]).args_of_app(&["--out", &file.display().to_string()]).confine(options);
        let code = run.start().code;
        if code != 0 {
            return format!("exit {code}");
        }
        let report: Value = serde_json::from_slice(&fs::read(&file).expect("it is ours")).expect("a report");
        let one = |one: &Value| {
            let link = one["link"].as_str().unwrap_or_default();
            let link = if link.starts_with("/proc/") { "/proc" } else { link };
            format!("{} {}", one["fd"], link.split(":[").next().unwrap_or_default())
        };
        report["descriptors"].as_array().expect("a list").iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let mut facts = vec![
        ("open descriptors", list(&["--open-junk", "3", "--rlimit", "NOFILE=100"])),
        ("descriptors without stdin", list(&["--close", "0"])),
        ("descriptors without any", list(&["--close", "0,1,2"])),
    ];
    let supervised = peer.start(peer.run(&["/bin/sleep", "100"]), "sleep");
    let apps = descriptors(supervised.app);
    let held = descriptors(supervised.supervisor);
    let holds = |number: usize| yes_or_no(held.iter().any(|(_, link)| *link == apps[number].1));
    facts.extend([
        ("the supervisor holds the app's stdin", holds(0)),
        ("the supervisor holds the app's stdout", holds(1)),
        ("the supervisor holds the app's stderr", holds(2)),
    ]);
    finish(supervised);
    facts
}

/// Process group and session, from outside.
fn family(peer: &Peer) -> Facts {
    let supervised = peer.start(peer.run(&["/bin/sleep", "100"]), "sleep");
    let group = |pid: i32| getpgid(Some(Pid::from_raw(pid))).expect("it is there").as_raw();
    let session = |pid: i32| getsid(Some(Pid::from_raw(pid))).expect("it is there").as_raw();
    let Supervised { app, supervisor, .. } = supervised;
    let facts = vec![
        ("the app leads a process group", yes_or_no(group(app) == app)),
        ("the app is in the supervisor's session", yes_or_no(session(app) == session(supervisor))),
        (
            "the supervisor leads a group or a session",
            yes_or_no([group(supervisor), session(supervisor)].contains(&supervisor)),
        ),
    ];
    finish(supervised);
    facts
}

fn finish(supervised: Supervised) {
    supervised.signal(15);
    supervised.finish();
}
