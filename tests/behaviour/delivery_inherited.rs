//! Descriptors that the app gets as handfast found them: `keep_fds`, the sockets of socket activation, Node's channel.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Directory, Run, is_root, needs_program, program};

const KEEPS: &str = "[app]\nkeep_fds = [4, 9]\n[secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:b\"\n";

/// The probe behind handfast, started by a shell that opens descriptors and sets variables.
fn through_shell(before: &str, config: &str) -> Run {
    let directory = Directory::new();
    let file = directory.write("handfast.toml", config);
    let script = format!(
        "{before} exec {} run -c {} -- {}",
        program("handfast").display(),
        file.display(),
        program("probe").display()
    );
    let run = Run::direct().app(["/bin/sh", "-c", &script]);
    // The directory lives as long as the machine's tests: handfast reads it after this returns.
    std::mem::forget(directory);
    run
}

fn numbers(app: &Value) -> Vec<i64> {
    let all = app["descriptors"].as_array().expect("a list");
    all.iter().map(|one| one["fd"].as_i64().expect("a number")).collect()
}

fn link(app: &Value, number: i64) -> String {
    let all = app["descriptors"].as_array().expect("a list");
    all.iter().find(|one| one["fd"] == number).map(|one| one["link"].to_string()).unwrap_or_default()
}

#[test]
fn kept_descriptors_stay_as_found_and_secrets_avoid_them() {
    let app = through_shell("exec 4</dev/zero 5</dev/zero 9>/dev/full;", KEEPS).start().ran();
    assert_eq!(numbers(&app), [0, 1, 2, 3, 4, 5, 9]);
    assert_eq!(app["HANDFAST_FDS"], "a:3,b:5");
    assert_eq!([link(&app, 4), link(&app, 9)], ["\"/dev/zero\"", "\"/dev/full\""]);
    assert!(link(&app, 5).contains("memfd"), "what is not kept is closed, and its number is free");
}

#[test]
fn a_readiness_pipe_tells_its_reader() {
    // As s6 does: the service writes a line to the descriptor that `notification-fd` names.
    let directory = Directory::new();
    let file = directory.write("handfast.toml", "[app]\nkeep_fds = [3]\n[secrets.a]\nfrom = \"mock:a\"\n");
    let ready = directory.write("ready", "");
    let handfast = program("handfast");
    let script = format!(
        "exec {} run -c {} -- /bin/sh -c 'cat <&4; echo ready >&3' 3>>{}",
        handfast.display(),
        file.display(),
        ready.display()
    );
    let outcome = Run::direct().app(["/bin/sh", "-c", &script]).start();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, b"mock-a".as_slice()), "{outcome:?}");
    assert_eq!(fs::read_to_string(ready).expect("it is ours"), "ready\n");
}

#[test]
fn a_kept_descriptor_that_is_not_open_or_asked_for_twice_is_a_problem() {
    let outcome = through_shell("exec 4</dev/zero;", KEEPS).start();
    outcome.refused(78, "`keep_fds` names the descriptor 9, which is not open");
    assert!(
        outcome.stderr.contains("hint: whoever starts handfast must hand it over, not close-on-exec"),
        "{outcome:?}"
    );
    let asks = KEEPS.replace("mock:b\"", "mock:b\"\nfd = 9");
    let outcome = through_shell("exec 4</dev/zero 9</dev/zero;", &asks).start();
    outcome.refused(78, "the secret `b` asks for the descriptor 9, which the app gets as it was found");
    let hint = "hint: `keep_fds` or socket activation (LISTEN_FDS) keeps it: choose another";
    assert!(outcome.stderr.contains(hint), "{outcome:?}");
    for wrong in ["2", "1048576", "-1", "\"4\""] {
        let outcome = through_shell("", &format!("[app]\nkeep_fds = [{wrong}]\n")).start();
        outcome.refused(78, "`keep_fds[0]` is ");
    }
    through_shell("", "[app]\nkeep_fds = 4\n").start().refused(78, "`keep_fds` is 4, expected an array of integers");
    let many = format!("[app]\nkeep_fds = [{}]\n", "4,".repeat(100_000));
    through_shell("", &many).start().refused(78, "`keep_fds` has 100000 numbers, expected ");
}

#[test]
fn variables_that_name_closed_descriptors_are_removed() {
    let names = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NODE_CHANNEL_FD"];
    let set = "export LISTEN_PID=1234567 LISTEN_FDS=1 LISTEN_FDNAMES=http NODE_CHANNEL_FD=3; exec 3</dev/zero;";
    let app = through_shell(set, "[secrets.a]\nfrom = \"mock:a\"\n").start().ran();
    assert!(names.iter().all(|name| app["environ"][name].is_null()), "{app}");
    assert!(link(&app, 3).contains("memfd"));
    // Kept, the channel is told too; the sockets still belong to another process.
    let app = through_shell(set, "[app]\nkeep_fds = [3]\n[secrets.a]\nfrom = \"mock:a\"\n").start().ran();
    assert_eq!((&app["environ"]["NODE_CHANNEL_FD"], &app["HANDFAST_FDS"]), (&"3".into(), &"a:4".into()));
    assert!(names[..3].iter().all(|name| app["environ"][name].is_null()), "{app}");
    // LISTEN_PID is the shell's, which becomes handfast; the second socket is missing.
    let short = "export LISTEN_PID=$$ LISTEN_FDS=2; exec 3</dev/zero;";
    let outcome = through_shell(short, "[secrets.a]\nfrom = \"mock:a\"\n").start();
    outcome.refused(78, "LISTEN_FDS is 2, and the descriptor 4 is not open");
    assert!(outcome.stderr.contains("hint: unset LISTEN_PID where no socket is handed over"), "{outcome:?}");
}

#[test]
fn systemds_sockets_reach_the_app_and_secrets_come_after_them() {
    let activate = needs_program!("systemd-socket-activate");
    let port = || {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        free.expect("a free port").to_string()
    };
    let (one, two) = (port(), port());
    let running = Run::direct()
        .app([activate.as_path()])
        .args_of_app(&["-l", &one, "-l", &two, "--fdname=http:admin"])
        .app_arg(program("handfast"))
        .args_of_app(&["run", "-s", "db=mock:db", "--"])
        .app_arg(program("probe"))
        .spawn();
    let began = Instant::now();
    while TcpStream::connect(&one).and_then(|mut one| one.write_all(b"x")).is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "nothing listens");
        std::thread::sleep(Duration::from_millis(10));
    }
    let app = running.finish().ran();
    assert_eq!(numbers(&app), [0, 1, 2, 3, 4, 5]);
    assert!([3, 4].iter().all(|socket| link(&app, *socket).contains("socket:")), "{app}");
    assert_eq!(app["HANDFAST_FDS"], "db:5");
    let told = |name: &str| app["environ"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!([told("LISTEN_FDS"), told("LISTEN_FDNAMES")], ["2", "http:admin"]);
    assert!(!told("LISTEN_PID").is_empty());
}

#[test]
fn nodes_channel_works_where_it_is_kept() {
    let node = needs_program!("node");
    let directory = Directory::new();
    let user = if is_root() { "user = \"0:0\"\nallow_root = true\n" } else { "" };
    let kept = directory.write("kept.toml", format!("[app]\nkeep_fds = [3]\n{user}"));
    let closed = directory.write("closed.toml", format!("[app]\n{user}"));
    let child = directory.write(
        "child.js",
        "const secret = require('fs').readFileSync(process.env.DB_FILE, 'utf8');\n\
         if (process.send) process.send(secret, () => process.disconnect()); else console.log('no channel, ' + secret);\n",
    );
    let parent = format!(
        "const child = require('child_process').fork({child:?}, [], {{ execPath: {handfast:?}, \
         execArgv: ['run', '-c', process.argv[1], '--', process.execPath] }});\n\
         child.on('message', (text) => console.log('received ' + text));",
        handfast = program("handfast")
    );
    for (config, expected) in [(kept, "received mock-db\n"), (closed, "no channel, mock-db\n")] {
        let run = Run::direct().app([node.as_path()]).args_of_app(&["-e", &parent]).app_arg(config);
        let outcome = run.env("DB_FILE", "handfast:mock:db").start();
        assert_eq!(String::from_utf8_lossy(&outcome.stdout), expected, "{outcome:?}");
    }
}

#[test]
fn the_worker_has_no_descriptor_that_the_app_keeps() {
    let slow =
        "[app]\nkeep_fds = [9]\n[providers.slow]\ntype = \"mock\"\nlatency = \"1s\"\n[secrets.a]\nfrom = \"slow:a\"\n";
    let running = through_shell("exec 9</dev/zero;", slow).spawn();
    let pid = running.pid();
    let began = Instant::now();
    let worker = loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let locked = |pid: &&str| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains("Seccomp:\t2"))
        };
        if let Some(worker) = children.split_whitespace().find(locked) {
            break worker.to_owned();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "no worker");
        std::thread::sleep(Duration::from_millis(1));
    };
    let listed = Command::new("ls").args(["-l", &format!("/proc/{worker}/fd")]).output().expect("coreutils");
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("/dev/zero"), "{listed:?}");
    running.finish().ran();
}
