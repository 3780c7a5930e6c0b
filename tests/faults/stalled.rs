//! A reader of stderr that has stopped: a log driver that hangs, a pager that nobody scrolls, a terminal after ^S.

use std::fs::{self, File};
use std::io::{Read, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Directory, needs_program, needs_root, program};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{FlowArg, tcflow};
use nix::unistd::{Pid, write};

/// Longer than any of these takes, also on a busy machine, and shorter than any deadline that is not under test.
const LONG: Duration = Duration::from_secs(20);

/// What takes no more, and the end that would have to be read first.
fn full_pipe() -> (File, OwnedFd) {
    let (reader, writer) = pipe().expect("there are descriptors");
    let writer = OwnedFd::from(writer);
    fill(&writer);
    (OwnedFd::from(reader).into(), writer)
}

fn full_socket() -> (File, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().expect("there are descriptors");
    let theirs = OwnedFd::from(theirs);
    fill(&theirs);
    (OwnedFd::from(ours).into(), theirs)
}

fn stopped_terminal() -> (File, OwnedFd) {
    let pair = openpty(None, None).expect("there are terminals");
    tcflow(&pair.slave, FlowArg::TCOOFF).expect("it is a terminal");
    (pair.master.into(), pair.slave)
}

fn fill(file: &OwnedFd) {
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL).expect("it is open"));
    fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("it is ours");
    while write(file, &[b'.'; 4096]).is_ok() {}
    while write(file, b".").is_ok() {}
    fcntl(file, FcntlArg::F_SETFL(flags)).expect("it is ours");
}

/// handfast, whose stderr is this.
fn start(words: &[&str], stderr: &OwnedFd, through: &[&str]) -> Child {
    let handfast = program("handfast").display().to_string();
    let words: Vec<&str> = through.iter().copied().chain([&*handfast]).chain(words.iter().copied()).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().env("PATH", crate::support::PATH).current_dir("/");
    let stderr = stderr.try_clone().expect("there are descriptors");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().expect("it can be started")
}

/// Its exit code, or 128+n; it must end soon.
fn code(mut child: Child) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            return status.code().unwrap_or_else(|| 128 + status.signal().expect("no code, so a signal"));
        }
        if began.elapsed() > LONG {
            child.kill().expect("it is ours");
            panic!("it does not end");
        }
        sleep(Duration::from_millis(1));
    }
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("process ids are small")
}

/// Waits until this process is handfast, and holds TERM back as it does from its first moment on. unshare does so too.
fn until_it_holds_signals_back(pid: i32) {
    let began = Instant::now();
    let holds = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"));
        status.starts_with("Name:\thandfast\n")
            && mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & (1 << 14) != 0)
    };
    while !holds() {
        assert!(began.elapsed() < LONG, "it has not begun");
        sleep(Duration::from_millis(1));
    }
}

/// The configuration of a start that has something to say before its fetch, which does not end by itself.
fn talkative(directory: &Directory) -> String {
    let slow = "[providers.mock]\nlatency = \"1h\"\n[secrets.db]\nfrom = \"mock:db\"\n";
    directory.write("handfast.toml", slow).display().to_string()
}

#[test]
fn a_signal_ends_a_start_that_waits_for_the_reader_of_its_log() {
    let directory = Directory::new();
    let config = talkative(&directory);
    let files = Directory::in_memory();
    for full in [full_pipe, full_socket, stopped_terminal] {
        for words in [
            &["run", "-c", &config, "--deadline", "1h", "--", "/bin/true"][..],
            &["run", "--supervise", "-c", &config, "--deadline", "1h", "--log-format", "json", "--", "/bin/true"],
            &["init", "-c", &config, "--deadline", "1h", "--dir", files.text()],
            &["watch", "-c", &config, "--deadline", "1h", "--dir", files.text()],
        ] {
            let (_reader, stderr) = full();
            let child = start(words, &stderr, &[]);
            until_it_holds_signals_back(pid(&child));
            kill(Pid::from_raw(pid(&child)), Signal::SIGTERM).expect("it is there");
            assert_eq!(code(child), 143, "{words:?}");
            let flags = OFlag::from_bits_retain(fcntl(&stderr, FcntlArg::F_GETFL).expect("it is open"));
            assert!(!flags.contains(OFlag::O_NONBLOCK), "the app's stderr is as it was: {words:?}");
        }
    }
}

#[test]
fn a_signal_ends_such_a_start_as_pid_1_too() {
    needs_root!();
    needs_program!("unshare");
    let directory = Directory::new();
    let config = talkative(&directory);
    let (_reader, stderr) = full_pipe();
    let words = ["run", "-c", &config, "--deadline", "1h", "--", "/bin/true"];
    let child = start(&words, &stderr, &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    let began = Instant::now();
    let init = loop {
        let children = format!("/proc/{pid}/task/{pid}/children", pid = pid(&child));
        let found = fs::read_to_string(children).unwrap_or_default();
        match found.split_whitespace().next().and_then(|pid| pid.parse().ok()) {
            Some(init) => break init,
            None => assert!(began.elapsed() < LONG, "it has not begun"),
        }
    };
    until_it_holds_signals_back(init);
    kill(Pid::from_raw(init), Signal::SIGTERM).expect("it is there");
    assert_eq!(code(child), 143);
}

#[test]
fn the_deadline_ends_it_wherever_that_is_said() {
    let directory = Directory::new();
    let config = talkative(&directory);
    let said = fs::read_to_string(&config).expect("it is there") + "[fetch]\ndeadline = \"1s\"\n";
    let said = directory.write("said.toml", said).display().to_string();
    for words in [
        &["run", "-c", &config, "--deadline", "1s", "--", "/bin/true"][..],
        &["run", "-c", &said, "--log-level", "debug", "--", "/bin/true"],
    ] {
        let (_reader, stderr) = full_pipe();
        assert_eq!(code(start(words, &stderr, &[])), 69, "{words:?}");
    }
}

#[test]
fn a_last_line_that_nobody_reads_keeps_no_start_from_its_end() {
    for (words, expected) in [
        (&["run", "-s", "db=mock:db"][..], 64),
        (&["run", "-s", "db=nothing:db", "--", "/bin/true"], 78),
        (&["run", "-s", "db=mock:db", "--", "/no/such/command"], 127),
        (&["check", "-s", "db=nothing:db"], 78),
        (&["ready", "--dir", "/no/such/directory"], 69),
    ] {
        let (_reader, stderr) = full_pipe();
        assert_eq!(code(start(words, &stderr, &[])), expected, "{words:?}");
    }
}

/// A reader that is only late loses no line: the start waits for it.
#[test]
fn a_late_reader_gets_every_line() {
    let (mut reader, stderr) = full_pipe();
    let words = ["run", "-s", "db=mock:db", "--deadline", "1h", "--", "/bin/sh", "-c", "echo started >&2"];
    let child = start(&words, &stderr, &[]);
    until_it_holds_signals_back(pid(&child));
    drop(stderr);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("a pipe can be read");
    assert_eq!(code(child), 0, "{text}");
    let lines: Vec<&str> = text.trim_start_matches('.').lines().collect();
    assert!(lines.iter().any(|line| line.contains("warn: ")), "{lines:?}");
    assert_eq!(lines.last(), Some(&"started"), "{lines:?}");
}

/// Others who have stderr too may have made it non-blocking, as node does.
#[test]
fn a_stderr_that_does_not_block_loses_no_line_either() {
    let (mut reader, stderr) = full_pipe();
    fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_WRONLY | OFlag::O_NONBLOCK)).expect("it is ours");
    let child = start(&["run", "-s", "db=nothing:db", "--", "/bin/true"], &stderr, &[]);
    drop(stderr);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("a pipe can be read");
    assert_eq!(code(child), 78, "{text}");
    assert!(text.contains("exit 78"), "{text}");
}
