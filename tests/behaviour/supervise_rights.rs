//! `run --supervise`: what the supervisor itself may still do.

use std::fs;

use crate::supervised::{AS_PID_1, Supervised, status};
use crate::support::{Directory, Run, canary, hits, needs_program, needs_root, scan};

const KILL: &str = "0000000000000020";
const NONE: &str = "0000000000000000";
/// KILL is not among them.
const WITHOUT_KILL: &str = "chown,dac_override,setuid,setgid,setpcap";

fn supervised() -> Run {
    Run::new().arg("--supervise")
}

fn capabilities(pid: i32) -> [String; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"].map(|set| status(pid, set))
}

#[test]
fn the_supervisor_keeps_kill_for_an_app_of_another_uid_and_nothing_else() {
    needs_root!();
    let config = "[app]\nuser = \"1234:4321\"\nkeep_capabilities = [\"NET_BIND_SERVICE\"]\ncore_dumps = true\n";
    let run = supervised().config(config).confine(&["--ambient", "chown", "--rlimit", "CORE=4096"]);
    let supervised = Supervised::start(run.app(["/bin/sleep", "100"]), "sleep");
    let bind = "0000000000000400";
    assert_eq!(capabilities(supervised.supervisor), [NONE, KILL, KILL, NONE, bind]);
    assert_eq!(capabilities(supervised.app), [bind; 5]);
    assert_eq!(status(supervised.supervisor, "NoNewPrivs"), "1");
    assert_eq!(status(supervised.supervisor, "Seccomp"), "2");
    assert_eq!(status(supervised.app, "Seccomp"), "0");
    let cores = |pid: i32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it is there");
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line").to_owned();
        line.split_whitespace().skip(4).take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((cores(supervised.supervisor), cores(supervised.app)), (vec!["0".into(); 2], vec!["4096".into(); 2]));
    supervised.signal(15);
    assert_eq!(supervised.finish().code, 143);
}

#[test]
fn the_supervisor_of_an_app_of_its_own_uid_has_no_capability() {
    needs_root!();
    let root = supervised().config("[app]\nuser = \"0:0\"\nallow_root = true\n");
    let user = supervised().confine(&["--uid", "1234", "--gid", "1234", "--groups", "none"]);
    for run in [root, user] {
        let supervised = Supervised::start(run.app(["/bin/sleep", "100"]), "sleep");
        let [inheritable, permitted, effective, ambient, _] = capabilities(supervised.supervisor);
        assert_eq!([inheritable, permitted, effective, ambient], [NONE; 4]);
        supervised.signal(15);
        assert_eq!(supervised.finish().code, 143);
    }
}

#[test]
fn an_ordinary_user_is_supervised_without_any_right() {
    let run = supervised().arg("--secret").arg("a=mock:a").app(["/bin/sh", "-c", "cat <&3; exit 5"]);
    let outcome = run.start();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (5, b"mock-a".as_slice()), "{outcome:?}");
}

#[test]
fn no_app_reads_its_supervisor() {
    needs_root!();
    needs_program!("unshare");
    let script = "for file in environ maps fd/ cwd mem; do cat /proc/$PPID/$file 2>&1 || ls -l /proc/$PPID/$file 2>&1; done; echo $PPID";
    for options in [&["--uid", "1234", "--gid", "1234"][..], &[]] {
        for through in [&[][..], &AS_PID_1] {
            let run = supervised().app(["/bin/sh", "-c", script]).confine(options).through(through);
            let outcome = run.start();
            let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
            assert!(text.matches("Permission denied").count() >= 5, "{options:?}: {outcome:?}");
            assert!(!text.contains("PATH="), "{outcome:?}");
        }
    }
}

#[test]
fn an_app_that_no_signal_could_reach_is_refused_before_the_fetch() {
    needs_root!();
    let limited = |run: Run| run.config("[app]\nuser = \"1234:4321\"\n").confine(&["--caps", WITHOUT_KILL]);
    let failing = "[providers.gone]\ntype = \"mock\"\nfail = \"not-found\"\n[secrets.a]\nfrom = \"gone:a\"\n";
    let message = "cannot supervise an app of uid 1234 as uid 0: the capability KILL is missing";
    let outcome = limited(supervised().config(failing)).start();
    outcome.refused(125, message);
    outcome.says("hint: add the capability KILL to the container");
    let check = limited(Run::command("check").args(["--for", "supervise"])).start();
    assert_eq!(check.code, 125, "{check:?}");
    check.says(message);
    // Without a supervisor, nobody needs it.
    limited(Run::new()).start().ran();
    assert_eq!(limited(Run::command("check")).start().code, 0);
    // With KILL alone besides, it works.
    let with = limited(supervised()).confine(&["--caps", &format!("{WITHOUT_KILL},kill")]);
    with.start().ran();
}

#[test]
fn check_says_what_becomes_of_the_supervisor() {
    let own = nix::unistd::geteuid();
    for (format, expected) in
        [("text", format!("supervisor    stays as uid {own}")), ("json", format!("\"uid\": {own}"))]
    {
        let check = Run::command("check").args(["--for", "supervise", "--format", format]).start();
        assert_eq!(check.code, 0, "{check:?}");
        assert!(String::from_utf8_lossy(&check.stdout).contains(&expected), "{check:?}");
    }
    let check = Run::command("check").start();
    assert!(!String::from_utf8_lossy(&check.stdout).contains("supervisor"), "{check:?}");
}

#[test]
fn the_log_tells_the_apps_process() {
    let outcome = supervised().args(["--log-level", "info"]).app(["/bin/sh", "-c", "echo $$"]).start();
    let pid = String::from_utf8_lossy(&outcome.stdout).trim().to_owned();
    outcome.says(&format!(
        "handfast: info: the app is process {pid}: a signal that it does not handle takes its default action\n"
    ));
}

#[test]
fn a_filter_that_cannot_be_had_is_told() {
    needs_root!();
    let denied = ["--deny", "seccomp=ENOSYS,prctl-seccomp=EINVAL"];
    let outcome = supervised().confine(&denied).start();
    outcome.says("warn: the supervisor runs without seccomp: this kernel or container does not let it");
    outcome.ran();
}

#[test]
fn a_supervisor_that_is_not_what_it_must_be_starts_no_app() {
    needs_root!();
    for (what, text) in [
        ("setpgid", "cannot give the app a process group"),
        ("prctl-subreaper", "cannot become the reaper of orphans"),
        ("chdir", "cannot leave the working directory"),
    ] {
        let outcome = supervised().confine(&["--deny", &format!("{what}=EPERM")]).start();
        outcome.refused(71, text);
    }
    // A call that lies about its success is found out by the read-back, for each of the two processes.
    let outcome = supervised().confine(&["--deny", "prctl-bounding=0"]).start();
    assert_eq!((outcome.code, outcome.app_ran()), (125, false), "{outcome:?}");
    outcome.says("bounding capabilities");
}

#[test]
fn no_secret_is_left_in_the_supervisor() {
    needs_root!();
    let (file, descriptor) = (canary(), canary());
    let target = Directory::in_memory();
    let config = format!(
        "[providers.mock]\nvalues = {{ a = \"{file}\", b = \"{descriptor}\" }}\n[files]\ndir = \"{}\"\n\
         [secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:b\"\nfd = \"auto\"\n",
        target.text()
    );
    let (token, argument) = (canary(), canary());
    let run =
        supervised().config(&config).env("VAULT_TOKEN", &token).app(["/bin/sh", "-c", "exec sleep 100", &argument]);
    let supervised = Supervised::start(run, "sleep");
    let values = [file.as_str(), &descriptor, &token];
    assert_eq!(hits(&scan(supervised.supervisor, &values)), [""; 0]);
    // The search finds what is there: the app's argument is one of handfast's.
    assert!(!hits(&scan(supervised.supervisor, &[&argument])).is_empty());
    supervised.signal(15);
    assert_eq!(supervised.finish().code, 143);
}
