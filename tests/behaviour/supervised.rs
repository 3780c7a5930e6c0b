//! A handfast that supervises an app, for the tests of `--supervise`.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::support::{Directory, Outcome, Run, Running, program};

const PATIENCE: Duration = Duration::from_secs(15);

/// In a pid namespace of its own, so that handfast is PID 1.
pub const AS_PID_1: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// A supervisor and its running app.
pub struct Supervised {
    running: Running,
    /// handfast.
    pub supervisor: i32,
    /// The app.
    pub app: i32,
}

impl Supervised {
    /// Waits until a child of handfast's has become the program of this name.
    pub fn start(run: Run, name: &str) -> Self {
        Self::start_under(run, "handfast", name)
    }

    /// The same with another program in handfast's place.
    pub fn start_under(run: Run, supervisor: &str, name: &str) -> Self {
        let running = run.spawn();
        let (supervisor, app) = until("the app runs", || {
            let mut candidates = vec![running.pid()];
            candidates.extend(children(running.pid()));
            let is = |pid: &i32, name: &str| comm(*pid) == name;
            candidates
                .into_iter()
                .filter(|pid| is(pid, supervisor))
                .find_map(|supervisor| Some((supervisor, children(supervisor).into_iter().find(|app| is(app, name))?)))
        });
        Self { running, supervisor, app }
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, number: u8) {
        handfast::sys::jobs::send(self.supervisor, number).expect("it is there");
    }

    /// Waits for the end of all.
    pub fn finish(self) -> Outcome {
        self.running.finish()
    }
}

/// Sends the supervisor SIGTERM, and waits for the end of all, which has this code.
#[track_caller]
pub fn end(supervised: Supervised, code: i32) -> Outcome {
    supervised.signal(15);
    let outcome = supervised.finish();
    assert_eq!(outcome.code, code, "{outcome:?}");
    outcome
}

/// An app that writes down its signals, into this file.
pub struct Witness {
    directory: Directory,
}

impl Witness {
    /// One that is not started yet.
    pub fn new() -> Self {
        let directory = Directory::new();
        let file = directory.write("signals", "");
        fs::set_permissions(file, fs::Permissions::from_mode(0o666)).expect("it is ours");
        Self { directory }
    }

    /// What a shell executes to start it. It ends after this many signals.
    pub fn script(&self, count: usize) -> String {
        format!("{} {count} > {}", program("witness").display(), self.file().display())
    }

    /// As an app.
    pub fn command(&self, count: usize) -> [String; 3] {
        ["/bin/sh".into(), "-c".into(), format!("exec {}", self.script(count))]
    }

    /// The number and the value of each signal so far, once it is ready.
    pub fn signals(&self) -> Option<Vec<(u8, u64)>> {
        let text = fs::read_to_string(self.file()).expect("it is ours");
        let lines = text.strip_prefix("ready\n")?.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let words = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].parse().expect("a number"), words[2].parse().expect("a number"))
        };
        Some(lines.map(words).collect())
    }

    /// The numbers alone.
    pub fn numbers(&self) -> Option<Vec<u8>> {
        Some(self.signals()?.into_iter().map(|(number, _)| number).collect())
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("signals")
    }
}

/// Waits until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, ask)
}

/// The same, for what may take as long as this.
#[track_caller]
pub fn until_within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < patience, "not so after {patience:?}: {what}");
        sleep(Duration::from_millis(1));
    }
}

/// The children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// The name of a process' program, as the kernel keeps it.
pub fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// A line of the status of a process.
pub fn status(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// What is open in a process, in order of number.
pub fn descriptors(pid: i32) -> Vec<(i32, PathBuf)> {
    let entries = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).expect("root sees it");
    let number = |path: &Path| path.file_name()?.to_str()?.parse().ok();
    let mut open: Vec<(i32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((number(&entry.path())?, fs::read_link(entry.path()).ok()?)))
        .collect();
    open.sort();
    open
}

/// Fills a pipe or a socket, so that its next writer has to wait.
pub fn fill(descriptor: &impl AsFd, write: &mut impl Write) {
    let flags = OFlag::from_bits_truncate(fcntl(descriptor, FcntlArg::F_GETFL).expect("it is open"));
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("it is open");
    while write.write(&[b'x'; 4096]).is_ok() {}
    while write.write(b"x").is_ok() {}
    fcntl(descriptor, FcntlArg::F_SETFL(flags)).expect("it is open");
}
