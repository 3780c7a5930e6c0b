//! Invariant 4: success is the state read back, not a return code; what does not read back as planned is 125, and no app.

use std::fs;

use crate::support::{Outcome, Run, is_root, needs_program, needs_root};
use serde_json::{Value, json};

const NONE: u64 = 0;
const BIND: u64 = 1 << 10;

/// A state to start in, and what is known of it.
struct Start {
    name: &'static str,
    options: &'static [&'static str],
    /// uid, gid and groups where no user is configured.
    stays: (u32, u32, &'static [u32]),
    /// Whether it can become another user; whether it can shrink the bounding set; whether it has NET_BIND_SERVICE to keep.
    may: [bool; 3],
}

const fn start(
    name: &'static str,
    options: &'static [&'static str],
    stays: (u32, u32, &'static [u32]),
    may: [bool; 3],
) -> Start {
    Start { name, options, stays, may }
}

/// What root gets without a user.
const DEFAULT: (u32, u32, &[u32]) = (65532, 65532, &[]);
const ALL: [bool; 3] = [true; 3];
const AMBIENT: &str = "chown,dac_override,kill,setgid,setuid,setpcap,net_bind_service";

const STARTS: &[Start] = &[
    start("root", &[], DEFAULT, ALL),
    start("inheritable", &["--inheritable", AMBIENT], DEFAULT, ALL),
    start("ambient", &["--ambient", AMBIENT], DEFAULT, ALL),
    start("securebits noroot", &["--ambient", AMBIENT, "--securebits", "1"], DEFAULT, ALL),
    start("securebits no_setuid_fixup", &["--securebits", "4"], DEFAULT, ALL),
    start("securebits no_setuid_fixup with ambient", &["--ambient", AMBIENT, "--securebits", "4"], DEFAULT, ALL),
    // exec clears KEEP_CAPS, so this is plain root.
    start("securebits keep_caps", &["--securebits", "16"], DEFAULT, ALL),
    // KEEP_CAPS is locked, but without the fixup nothing needs it.
    start("securebits all locked", &["--ambient", AMBIENT, "--securebits", "47"], DEFAULT, ALL),
    start("supplementary groups", &["--groups", "0,4,27"], DEFAULT, ALL),
    start("docker", &["--caps", "docker"], DEFAULT, ALL),
    start("docker before 20.10.14", &["--caps", "docker", "--inheritable", "docker"], DEFAULT, ALL),
    start("only setuid and setgid", &["--caps", "setuid,setgid"], DEFAULT, [true, false, false]),
    start("no capabilities", &["--caps", "none"], (0, 0, &[]), [false, false, false]),
    start(
        "openshift",
        &["--uid", "1000620000", "--gid", "0", "--groups", "1000620000"],
        (1_000_620_000, 0, &[1_000_620_000]),
        [false; 3],
    ),
    start(
        "non-root with fsGroup",
        &["--uid", "1000", "--gid", "1000", "--groups", "2000,3000"],
        (1000, 1000, &[2000, 3000]),
        [false; 3],
    ),
    start(
        "non-root with an ambient capability",
        &["--uid", "1000", "--gid", "1000", "--groups", "none", "--ambient", "net_bind_service"],
        (1000, 1000, &[]),
        [false, false, true],
    ),
    start("user namespace", &["--userns"], (0, 0, &[]), [false, true, true]),
];

fn kept(set: u64) -> String {
    format!("{set:016x}")
}

/// Checks all that the app has; `bounding` is what may be left of that set where it cannot be changed.
fn assert_planned(name: &str, outcome: &Outcome, ids: (u32, u32, &[u32]), keep: u64, shrinks: bool) {
    assert_eq!(outcome.code, 0, "{name}: {outcome:?}");
    let app = outcome.probe();
    let status = &app["status"];
    let (uid, gid, groups) = ids;
    assert_eq!(status["uids"], json!([uid, uid, uid, uid]), "{name}");
    assert_eq!(status["gids"], json!([gid, gid, gid, gid]), "{name}");
    assert_eq!(status["groups"], json!(groups), "{name}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set], kept(keep), "{name}: {set}");
    }
    let told = outcome.stderr.matches("the capability bounding set stays as found").count();
    if shrinks {
        assert_eq!((status["CapBnd"].clone(), told), (json!(kept(keep)), 0), "{name}: {outcome:?}");
    } else {
        assert_eq!(told, 1, "{name}: it is told once: {outcome:?}");
    }
    assert_eq!(status["NoNewPrivs"], 1, "{name}");
    assert_eq!(status["rlimits"]["CORE"], json!([0, 0]), "{name}");
    assert_eq!(status["securebits"].as_i64().expect("a number") & 0x10, 0, "{name}: KEEP_CAPS is gone");
    let numbers: Vec<&Value> = app["descriptors"].as_array().expect("a list").iter().map(|one| &one["fd"]).collect();
    assert_eq!(numbers, [0, 1, 2, 3], "{name}");
    if uid != 0 {
        assert_eq!(app["attempts"]["setresuid"], "EPERM", "{name}");
    }
    if gid != 0 {
        assert_eq!(app["attempts"]["setresgid"], "EPERM", "{name}");
    }
}

#[test]
fn every_start_state_ends_as_planned_or_not_at_all() {
    needs_root!();
    for start in STARTS {
        let [changes, shrinks, binds] = start.may;
        for user in [false, true] {
            for keep in [NONE, BIND] {
                let name = format!("{}, user {user}, keep {keep:#x}", start.name);
                let mut config = "[app]\n".to_owned();
                if user {
                    config.push_str("user = \"1234:4321\"\ngroups = [\"77\", \"78\"]\n");
                } else if start.stays.0 == 0 {
                    // Where it stays what it is, that has to be allowed.
                    config.push_str("user = \"0:0\"\nallow_root = true\n");
                }
                if keep == BIND {
                    config.push_str("keep_capabilities = [\"NET_BIND_SERVICE\"]\n");
                }
                config.push_str("[secrets.db]\nfrom = \"mock:db\"\n");
                let outcome = Run::new().config(&config).arg("--log-level=info").confine(start.options).start();
                if user && !changes || keep == BIND && !binds {
                    assert_eq!((outcome.code, outcome.app_ran()), (125, false), "{name}: {outcome:?}");
                    assert!(outcome.stderr.contains("hint: "), "{name}: {outcome:?}");
                    continue;
                }
                let ids = if user { (1234, 4321, &[77, 78][..]) } else { start.stays };
                // What it never had in the bounding set needs no change.
                assert_planned(&name, &outcome, ids, keep, shrinks || start.options == ["--caps", "none"]);
            }
        }
    }
}

#[test]
fn a_state_that_already_holds_is_not_attempted() {
    needs_root!();
    let setpriv = needs_program!("setpriv");
    let setpriv = setpriv.to_str().expect("text");
    let config = "[app]\nuser = \"0:0\"\nallow_root = true\n[secrets.db]\nfrom = \"mock:db\"\n";
    // With all these denied, only a process that needs none of them can start.
    let denied = "prctl-no_new_privs=EPERM,prctl-ambient=EPERM,setgroups=EPERM,setresgid=EPERM,setresuid=EPERM";
    let run = Run::new().config(config).confine(&["--caps", "none", "--groups", "none", "--deny", denied]);
    let outcome = run.through(&[setpriv, "--nnp", "--"]).start();
    assert_planned("no_new_privs already", &outcome, (0, 0, &[]), NONE, true);
}

/// A call that is needed, the state that needs it, and what the read-back finds where the call only says that it worked.
const NEEDED: &[(&str, &[&str], &str)] = &[
    ("setgroups", &["--groups", "0,4"], "groups [0, 4], planned [77]"),
    ("setresgid", &[], "gids [0, 0, 0, 0], planned 4321"),
    ("setresuid", &[], "uids [0, 0, 0, 0], planned 1234"),
    ("prctl-no_new_privs", &[], "no_new_privs"),
    ("capset", &["--inheritable", AMBIENT], "capabilities"),
    ("prlimit64", &["--rlimit", "CORE=4096"], "RLIMIT_CORE"),
    ("close_range", &["--open-junk", "1"], "the open descriptors are"),
];

const USER: &str = "[app]\nuser = \"1234:4321\"\ngroups = [\"77\"]\n[secrets.db]\nfrom = \"mock:db\"\n";

#[test]
fn a_needed_call_that_is_denied_ends_with_125() {
    needs_root!();
    for (call, options, _) in NEEDED.iter().filter(|(call, ..)| *call != "close_range") {
        for error in ["EPERM", "ENOSYS"] {
            // musl then takes the older call, which does the same.
            if (*call, error) == ("prlimit64", "ENOSYS") {
                continue;
            }
            let outcome =
                Run::new().config(USER).confine(options).confine(&["--deny", &format!("{call}={error}")]).start();
            assert_eq!((outcome.code, outcome.app_ran()), (125, false), "{call} {error}: {outcome:?}");
        }
    }
}

#[test]
fn a_call_that_lies_about_its_success_ends_with_125() {
    needs_root!();
    // One that lies about limits also lies where they are only read, and the start ends there.
    for (call, options, text) in NEEDED.iter().filter(|(call, ..)| *call != "prlimit64") {
        let outcome = Run::new().config(USER).confine(options).confine(&["--deny", &format!("{call}=0")]).start();
        assert_eq!((outcome.code, outcome.app_ran()), (125, false), "{call}: {outcome:?}");
        assert!(outcome.stderr.contains(text), "{call}: {outcome:?}");
    }
    // The worker too fetches nothing before it has read back that its capabilities are gone.
    let lying = Run::new().config(USER).confine(&["--deny", "capset=0"]).start();
    lying.refused(125, "the worker could not give up its privileges");
    let lying = Run::new().config(USER).confine(&["--deny", "prctl-no_new_privs=0"]).start();
    lying.refused(125, "the worker could not give up its privileges");
    // Best effort or not: what says that it worked has to have worked.
    let lying = Run::new().config(USER).confine(&["--deny", "prctl-bounding=0"]).start();
    assert_eq!((lying.code, lying.app_ran()), (125, false), "{lying:?}");
    assert!(lying.stderr.contains("bounding capabilities"), "{lying:?}");
}

#[test]
fn best_effort_is_told_once_and_fatal_under_strict() {
    needs_root!();
    let strict = USER.replace("[secrets.db]", "strict = true\n[secrets.db]");
    for (options, text) in [
        (&["--caps", "setuid,setgid,chown"][..], "the capability bounding set stays as found"),
        (&["--caps", "setuid,setgid,setpcap"][..], "stays with its owner"),
        (&["--deny", "landlock_create_ruleset=ENOSYS"][..], "without Landlock"),
        (&["--deny", "seccomp=ENOSYS,prctl-seccomp=EINVAL"][..], "seccomp"),
        (&["--deny", "prctl-bounding=EPERM"][..], "from the bounding set"),
    ] {
        let outcome = Run::new().config(USER).arg("--log-level=info").confine(options).start();
        assert_eq!((outcome.code, outcome.app_ran()), (0, true), "{options:?}: {outcome:?}");
        assert_eq!(outcome.stderr.matches(text).count(), 1, "{options:?}: {outcome:?}");
        let outcome = Run::new().config(&strict).confine(options).start();
        assert_eq!((outcome.code, outcome.app_ran()), (125, false), "{options:?}: {outcome:?}");
        assert!(outcome.stderr.contains(text), "{options:?}: {outcome:?}");
    }
    let everything = Run::new().config(&strict).start();
    assert_eq!(everything.code, 0, "{everything:?}");
}

#[test]
fn no_text_but_a_plain_number_is_an_id() {
    let texts = [
        "-1",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "99999999999999999999999999",
        "+5",
        "0x10",
        "1e3",
        " 5",
        "5 ",
        "",
        "٣",
        "５",
        "00",
        "010",
        "5\t",
        "5\n",
        "1,5",
        "1.0",
        "1_000",
        ":5",
        "5:",
        "5:-1",
        "5:4294967295",
        "5:0x10",
        "5:6:7",
        "0b1",
        "0o7",
        "#5",
        "*",
        "-",
        "~",
    ];
    for text in texts {
        for run in [Run::new().arg(format!("--user={text}")), Run::new().config(&format!("[app]\nuser = {text:?}\n"))] {
            let outcome = run.arg("--secret").arg("db=mock:db").start();
            assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{text:?}: {outcome:?}");
        }
    }
    for text in texts.iter().filter(|text| !text.contains(':')) {
        let config = format!("[app]\nuser = \"{}\"\ngroups = [{text:?}]\n", if is_root() { 1000 } else { 0 });
        let outcome = Run::new().config(&config).arg("--secret").arg("db=mock:db").start();
        assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{text:?}: {outcome:?}");
    }
}

#[test]
fn uid_0_needs_permission_of_its_own() {
    needs_root!();
    for user in ["0", "root", "0:1000", "root:nogroup"] {
        let outcome = Run::new().arg("--user").arg(user).arg("--secret").arg("db=mock:db").start();
        assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{user}: {outcome:?}");
        assert!(outcome.stderr.contains("allow_root"), "{user}: {outcome:?}");
    }
    // An account that is root by another name.
    let passwd = crate::support::Directory::new();
    let file = passwd.write("passwd", fs::read_to_string("/etc/passwd").expect("text") + "toor:x:0:0::/:/bin/sh\n");
    let bind = format!("{}:/etc/passwd", file.display());
    let outcome =
        Run::new().confine(&["--bind", &bind]).arg("--user").arg("toor").arg("--secret").arg("db=mock:db").start();
    assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{outcome:?}");
}
