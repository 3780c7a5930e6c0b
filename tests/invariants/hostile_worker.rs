//! Invariant 3: what comes from the worker is treated as hostile. The test takes the worker's end of the socketpair and lies.

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::{Directory, Outcome, Run, Running, needs_root};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::Pid;

const READY: u8 = 1;
const VALUE: u8 = 2;
const MISSING: u8 = 3;
const FAILED: u8 = 4;
const COMMIT: u8 = 5;
const FIELDS: u8 = 6;

/// A frame of generation 1 that is as long as it says.
fn frame(kind: u8, secret: u32, payload: &[u8]) -> Vec<u8> {
    header(kind, 1, secret, payload.len().try_into().expect("short"), payload)
}

fn header(kind: u8, generation: u32, secret: u32, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    [generation, secret, length].iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    bytes.extend(payload);
    bytes
}

fn value(secret: u32, name: &str, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(name.len()).expect("short").to_be_bytes();
    frame(VALUE, secret, &[&length, name.as_bytes(), value].concat())
}

fn fields(secret: u32, count: u32) -> Vec<u8> {
    frame(FIELDS, secret, &count.to_be_bytes())
}

/// The secrets by number: a descriptor, every field as files, and a file that may be missing.
const SECRETS: &str = "[providers.mock]\nlatency = \"60s\"\n[secrets.a]\nfrom = \"mock:a\"\nfd = \"auto\"\n\
    [secrets.b]\nfrom = \"mock:b#*\"\nfile = \"*\"\n[secrets.c]\nfrom = \"mock:c\"\noptional = true\n";

/// What a worker of ours says.
fn good() -> Vec<Vec<u8>> {
    vec![value(0, "", b"1"), fields(1, 1), value(1, "x", b"2"), frame(MISSING, 2, b""), frame(COMMIT, 0, b"")]
}

fn say(frames: &[Vec<u8>], kill_it: bool) -> (Outcome, Directory) {
    say_within(frames, kill_it, "60s")
}

/// Says this in the worker's place, which is then killed where `kill_it` says so, and else stays as it is.
fn say_within(frames: &[Vec<u8>], kill_it: bool, deadline: &str) -> (Outcome, Directory) {
    let (run, worker, mut socket, directory) = stopped(deadline);
    // The other side may have heard enough before all is said.
    let said = frames.iter().try_for_each(|frame| socket.write_all(frame));
    assert!(said.is_ok() || !kill_it, "{said:?}");
    drop(socket);
    if kill_it {
        kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it waits");
    }
    (run.finish(), directory)
}

/// The worker's socket, out of its hands.
pub fn socket_of(worker: i32) -> UnixStream {
    let entries = std::fs::read_dir(format!("/proc/{worker}/fd")).expect("it waits").flatten();
    let is_socket = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
    };
    let number = entries.filter(is_socket).map(|entry| entry.file_name().to_string_lossy().parse::<i32>()).next();
    descriptor_of(worker, number.expect("it has a socket").expect("a number")).into()
}

/// A descriptor of the worker's, out of its hands.
fn descriptor_of(worker: i32, number: i32) -> OwnedFd {
    // SAFETY: takes numbers only.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, worker, 0) };
    let process = i32::try_from(Errno::result(process).expect("it waits")).expect("a descriptor");
    // SAFETY: the kernel opened it just now, for nobody else.
    let process = unsafe { OwnedFd::from_raw_fd(process) };
    // SAFETY: takes numbers only.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
    let descriptor = i32::try_from(Errno::result(descriptor).expect("root may")).expect("a descriptor");
    // SAFETY: as above.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// A start whose worker is stopped before it has said anything, with the worker's socket.
fn stopped(deadline: &str) -> (Running, i32, UnixStream, Directory) {
    let directory = Directory::in_memory();
    let config = format!("[files]\ndir = \"{}\"\n{SECRETS}", directory.text());
    let mut run = Run::new().config(&config).arg("--deadline").arg(deadline).spawn();
    let worker = run.worker();
    kill(Pid::from_raw(worker), Signal::SIGSTOP).expect("it waits");
    (run, worker, socket_of(worker), directory)
}

#[test]
fn a_lying_worker_delivers_nothing() {
    needs_root!();
    let good =
        || vec![value(0, "", b"1"), fields(1, 1), value(1, "x", b"2"), frame(MISSING, 2, b""), frame(COMMIT, 0, b"")];
    let with = |at: usize, lies: &[Vec<u8>]| {
        let mut frames = good();
        frames.splice(at..=at, lies.iter().cloned());
        frames
    };
    let nonsense = "the worker sent a frame that does not exist";
    let order = "the worker sent a frame out of order";
    let twice = "the worker sent a secret twice";
    let cases: Vec<(&str, Vec<Vec<u8>>, i32, &str)> = vec![
        ("no frame", vec![vec![0xff; 64]], 70, nonsense),
        ("an unknown kind", with(0, &[frame(12, 0, b"")]), 70, nonsense),
        ("an empty policy", with(0, &[frame(7, 0, b"")]), 70, nonsense),
        ("a policy that nobody has asked for", with(0, &[frame(7, 0, b"x")]), 70, order),
        ("4 GiB", with(0, &[header(VALUE, 1, 0, u32::MAX, b"")]), 70, nonsense),
        ("one byte too much", with(0, &[header(VALUE, 1, 0, 2 + 255 + (1 << 20) + 1, b"")]), 70, nonsense),
        ("a name longer than its frame", with(0, &[frame(VALUE, 0, b"\xff\xff1")]), 70, nonsense),
        ("a name where none belongs", with(0, &[value(0, "x", b"1")]), 70, nonsense),
        ("a name that is no text", with(2, &[frame(VALUE, 1, b"\0\x01\xff2")]), 70, "a name that is not UTF-8"),
        ("a failure that is none", with(0, &[frame(FAILED, 0, &[1; 9])]), 70, nonsense),
        ("a second beginning", with(0, &[frame(READY, 0, b"\x03")]), 70, order),
        ("another generation", with(0, &[header(VALUE, 2, 0, 3, b"\0\x001")]), 70, order),
        ("a secret of no plan", with(0, &[value(3, "", b"1")]), 70, "a secret that is not in the plan"),
        ("a secret far from the plan", with(0, &[value(u32::MAX, "", b"1")]), 70, "a secret that is not in the plan"),
        ("a value twice", with(0, &[value(0, "", b"1"), value(0, "", b"1")]), 70, twice),
        ("a value and a failure", with(3, &[value(2, "", b"1"), frame(MISSING, 2, b"")]), 70, twice),
        ("more fields than said", with(2, &[value(1, "x", b"2"), value(1, "y", b"2")]), 70, twice),
        ("fields of one that has none", with(0, &[fields(0, 1)]), 70, twice),
        ("a needed one missing", with(0, &[frame(MISSING, 0, b"")]), 70, "a needed one as missing"),
        ("words after its last", [good(), vec![frame(COMMIT, 0, b"")]].concat(), 70, "something after its commit"),
        ("an early commit", vec![frame(COMMIT, 0, b"")], 70, "a commit before every answer"),
        ("fewer fields than said", with(1, &[fields(1, 2)]), 70, "a commit before every answer"),
        ("a path as a name", with(2, &[value(1, "../x", b"2")]), 65, "cannot be a file's"),
        ("a hidden name", with(2, &[value(1, "..data", b"2")]), 65, "cannot be a file's"),
        ("another secret's name", with(2, &[value(1, "c", b"2")]), 65, "`c`"),
    ];
    for (name, frames, code, text) in cases {
        let (outcome, directory) = say(&frames, false);
        assert_eq!((outcome.code, outcome.app_ran()), (code, false), "{name}: {outcome:?}");
        assert!(outcome.stderr.contains(text), "{name}: {outcome:?}");
        assert_eq!(directory.names(), Vec::<String>::new(), "{name}");
        assert!(outcome.elapsed < Duration::from_secs(5), "{name}: {outcome:?}");
    }
}

#[test]
fn a_worker_that_never_ends_is_not_waited_for() {
    needs_root!();
    // It has said all, and neither closes its socket nor exits.
    let (outcome, directory) = say_within(&good(), false, "1s");
    assert!([69, 70].contains(&outcome.code) && !outcome.app_ran(), "{outcome:?}");
    assert_eq!(directory.names(), Vec::<String>::new());
    assert!(outcome.elapsed < Duration::from_secs(3), "{outcome:?}");
}

#[test]
fn a_worker_that_dies_in_the_middle_of_its_words_delivers_nothing() {
    needs_root!();
    let bytes = good().concat();
    // The last is the control: every frame is as it should be, and only the worker's own end is not.
    for length in [0, 1, 15, 16, 17, 19, 40, bytes.len() - 1, bytes.len()] {
        let (outcome, directory) = say(&[bytes[..length].to_vec()], true);
        assert_eq!((outcome.code, outcome.app_ran()), (70, false), "{length}: {outcome:?}");
        assert!(outcome.stderr.contains("the worker was killed by SIGKILL"), "{length}: {outcome:?}");
        assert_eq!(directory.names(), Vec::<String>::new(), "{length}");
    }
}

#[test]
fn a_byte_out_of_band_keeps_nobody_waiting() {
    needs_root!();
    let bytes = good().concat();
    // Before its first frame, in the middle of one, and after its commit.
    for length in [0, 20, bytes.len()] {
        let (run, _, mut socket, directory) = stopped("60s");
        socket.write_all(&bytes[..length]).expect("it is read");
        send(socket.as_raw_fd(), b"x", MsgFlags::MSG_OOB).expect("a stream socket takes it");
        let outcome = run.finish();
        assert_eq!((outcome.code, outcome.app_ran()), (70, false), "{length}: {outcome:?}");
        assert!(outcome.stderr.contains("the worker sent something out of band"), "{length}: {outcome:?}");
        assert_eq!(directory.names(), Vec::<String>::new(), "{length}");
        assert!(outcome.elapsed < Duration::from_secs(5), "{length}: {outcome:?}");
    }
}

#[test]
fn a_worker_writes_lines_of_the_log_and_nothing_else() {
    needs_root!();
    let (run, worker, _socket, _) = stopped("60s");
    let link = |process: i32| std::fs::read_link(format!("/proc/{process}/fd/2")).expect("it waits");
    assert_ne!(link(worker), link(run.pid()), "the app's stderr is not the worker's");
    let mut log = std::fs::File::from(descriptor_of(worker, 2));
    // A line of ours, one that looks like the last one, one that would clear a terminal, one without end, and far too much.
    log.write_all(b"wfirst\nhandfast: error: forged\ne\x1b[2J\xff\r\n").expect("a pipe");
    let mut written = 0;
    while written < 3 << 20 {
        match log.write(&[b'x'; 4096]) {
            Ok(length) => written += length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1))
            }
            Err(error) => panic!("{error}"),
        }
    }
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.app_ran()), (143, false), "{outcome:?}");
    for line in [
        "warn: first",
        "hint: andfast: error: forged",
        "error: \\u{1b}[2J\u{fffd}\\r",
        "warn: the worker's log has more than 1 MiB",
    ] {
        assert!(
            outcome.stderr.lines().any(|found| found.starts_with(&format!("handfast: {line}"))),
            "{line}: {outcome:?}"
        );
    }
    assert!(
        outcome.stderr.lines().all(|line| line.starts_with("handfast: ")) && outcome.stderr.len() < 20_000,
        "{outcome:?}"
    );
}
