//! `probe` sees each start state that `confine` sets. For an ordinary user, tests that need root are left out.

use std::process::{Command, Output};

use serde_json::{Value, json};

const CONFINE: &str = env!("CARGO_BIN_EXE_confine");
const PROBE: &str = env!("CARGO_BIN_EXE_probe");

fn confine(options: &[&str], command: &[&str]) -> Output {
    let mut confine = Command::new(CONFINE);
    confine.arg("--clean").args(options).arg("--").args(command);
    confine.env_clear().env("PATH", "/usr/bin:/bin").output().expect("confine starts")
}

/// A copy of the probe that another uid can execute too: this uid may be unable to enter the checkout.
///
/// A separate program makes the copy: a child that another thread starts at the same time could inherit a file that this thread
/// writes, and the copy would then be too busy to be executed.
fn probe_for_all() -> String {
    let path = format!("/tmp/handfast-probe-{}-{:?}", std::process::id(), std::thread::current().id());
    let copied = Command::new("install").args(["-m", "0755", PROBE, &path]).status();
    assert!(copied.is_ok_and(|status| status.success()), "/tmp can be written");
    path
}

/// The report of an app that is started in this state.
fn seen(options: &[&str]) -> Value {
    let probe = probe_for_all();
    let output = confine(options, &[&probe]);
    std::fs::remove_file(&probe).expect("it is ours");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{options:?}: {error}: {output:?}"))
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI runs as root");
    if !root {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        // Do not use `println!`, whose output the test harness captures.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {name}: needs root\n").as_bytes());
    }
    root
}

fn mask(report: &Value, name: &str) -> u64 {
    u64::from_str_radix(report["status"][name].as_str().expect("text"), 16).expect("hexadecimal digits")
}

#[test]
fn signals_limits_and_attributes_reach_the_command() {
    let report = seen(&[
        "--ignore",
        "PIPE,CHLD,HUP,40",
        "--block",
        "USR1",
        "--umask",
        "027",
        "--nice",
        "5",
        "--cwd",
        "/tmp",
        "--rlimit",
        "NOFILE=32:64",
        "--rlimit",
        "CORE=0",
        "--setenv",
        "A=b",
        "--unsetenv",
        "PATH",
    ]);
    let bit = |signal: u32| 1u64 << (signal - 1);
    assert_eq!(mask(&report, "SigIgn"), bit(1) | bit(13) | bit(17) | bit(40));
    assert_eq!(mask(&report, "SigBlk"), bit(10));
    let status = &report["status"];
    assert_eq!(status["umask"], "0027");
    assert_eq!(status["nice"], 5);
    assert_eq!(status["cwd"], "/tmp");
    assert_eq!(status["rlimits"]["NOFILE"], json!([32, 64]));
    assert_eq!(status["rlimits"]["CORE"], json!([0, 0]));
    assert_eq!(report["environ"], json!({ "A": "b" }));
}

#[test]
fn standard_descriptors_can_be_closed_and_others_left_open() {
    let report = seen(&["--close", "0,2", "--open-junk", "7", "--rlimit", "NOFILE=64"]);
    let descriptors = report["descriptors"].as_array().expect("a list");
    let open: Vec<i64> = descriptors.iter().filter_map(|entry| entry["fd"].as_i64()).collect();
    assert!(open.contains(&1) && !open.contains(&0) && !open.contains(&2), "{open:?}");
    assert_eq!(open.last(), Some(&63));
    assert_eq!(open.iter().filter(|number| **number > 2).count(), 7, "{open:?}");
    assert_eq!(descriptors.last().expect("seven at least")["link"], "/");
}

#[test]
fn a_denied_call_fails_with_the_given_error() {
    let report = seen(&["--deny", "setresuid=ENOSYS,prctl-no_new_privs=EPERM,setresgid=EPERM"]);
    assert_eq!(report["attempts"]["setresuid"], "ENOSYS");
    assert_eq!(report["attempts"]["setresgid"], "EPERM");
    assert_eq!(report["status"]["Seccomp"], 2);
    let output = confine(&["--deny", "prctl-no_new_privs=EPERM"], &["setpriv", "--no-new-privs", "true"]);
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn a_denied_call_costs_root_no_privileges() {
    if root() {
        let report = seen(&["--deny", "close_range=EPERM", "--caps", "SETUID,SETGID"]);
        assert_eq!(report["status"]["NoNewPrivs"], 0);
        assert_eq!(mask(&report, "CapEff"), 0xc0);
    }
}

#[test]
fn root_keeps_exactly_the_listed_capabilities() {
    if root() {
        let report = seen(&["--caps", "docker", "--inheritable", "KILL,NET_ADMIN", "--securebits", "0"]);
        assert_eq!(mask(&report, "CapBnd"), 0xa804_25fb);
        assert_eq!(mask(&report, "CapInh"), 1 << 5 | 1 << 12);
        let report = seen(&["--caps", "none"]);
        assert_eq!(["CapPrm", "CapEff", "CapBnd"].map(|name| mask(&report, name)), [0, 0, 0]);
        let report = seen(&["--bounding", "none"]);
        assert_eq!((mask(&report, "CapBnd"), mask(&report, "CapEff")), (0, 0));
        assert_eq!(seen(&["--securebits", "1"])["status"]["securebits"], 1);
    }
}

#[test]
fn another_user_has_no_capabilities_but_the_ambient_ones() {
    if root() {
        let report = seen(&["--uid", "1000", "--gid", "1001", "--groups", "4,5", "--ambient", "NET_BIND_SERVICE"]);
        assert_eq!(report["status"]["uids"], json!([1000, 1000, 1000, 1000]));
        assert_eq!(report["status"]["gids"], json!([1001, 1001, 1001, 1001]));
        assert_eq!(report["status"]["groups"], json!([4, 5]));
        assert_eq!(["CapInh", "CapPrm", "CapEff", "CapAmb"].map(|name| mask(&report, name)), [1 << 10; 4]);
        assert_eq!(report["attempts"]["setresuid"], "EPERM");
        let report = seen(&["--uid", "1000", "--gid", "0", "--groups", "none"]);
        assert_eq!(["CapInh", "CapPrm", "CapEff", "CapAmb"].map(|name| mask(&report, name)), [0; 4]);
    }
}

#[test]
fn a_user_namespace_knows_one_id_only() {
    if root() {
        let report = seen(&["--uid", "1000", "--gid", "1000", "--groups", "none", "--userns"]);
        assert_eq!(report["status"]["uids"], json!([0, 0, 0, 0]));
        assert_ne!(mask(&report, "CapEff"), 0);
        let output = confine(&["--userns"], &["setpriv", "--reuid", "65532", "true"]);
        assert!(!output.status.success(), "{output:?}");
    }
}

#[test]
fn a_private_tmpfs_can_be_filled_before_the_start() {
    if root() {
        let directory = format!("/tmp/handfast-confine-{}", std::process::id());
        let mount = format!("{directory}:mode=3777,gid=7,size=64k,noexec");
        let setup = format!("ln -s nowhere {directory}/link; printf x >{directory}/file");
        let output = confine(&["--tmpfs", &mount, "--setup", &setup], &[PROBE, "--read", &directory]);
        assert!(!std::path::Path::new(&directory).join("file").exists(), "the mount is private");
        std::fs::remove_dir(&directory).expect("empty outside the namespace");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let read = &report["read"][&directory];
        assert_eq!(read["filesystem"], "1021994");
        assert_eq!(read["entries"]["."]["mode"], "3777");
        assert_eq!(read["entries"]["."]["gid"], 7);
        assert_eq!(read["entries"]["link"]["target"], "nowhere");
        assert_eq!(read["entries"]["file"]["content"], "78");
    }
}

#[test]
fn what_cannot_be_set_is_one_line_and_99() {
    for options in
        [["--caps", "ROOT"], ["--cwd", "/nowhere"], ["--rlimit", "X=1"], ["--deny", "x=EPERM"], ["--wrong", ""]]
    {
        let output = confine(&options, &["true"]);
        assert_eq!(output.status.code(), Some(99), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{output:?}");
    }
    assert_eq!(confine(&[], &["/nowhere"]).status.code(), Some(99));
}
