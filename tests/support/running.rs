//! A started handfast, and how it ended.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Output};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Directory, MEMORY};

/// A handfast, or the app that it became, still running.
pub struct Running {
    directory: Directory,
    traced: bool,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    started: Instant,
    timeout: Duration,
}

impl Running {
    /// Begins to read what the child writes. Its time runs from before its start: a deadline of its own cannot end it earlier.
    pub(super) fn new(
        mut child: Child,
        started: Instant,
        directory: Directory,
        traced: bool,
        timeout: Duration,
    ) -> Self {
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        Self { directory, traced, child, stdout, stderr, started, timeout }
    }

    /// The process: confine's at first, then handfast's, then the app's (the tracer's where it is traced).
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are small")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("it is there");
    }

    /// Waits until it has become the named program; the name is that of the file, without its directory.
    pub fn wait_for(&mut self, name: &str) {
        let executable = format!("/proc/{}/exe", self.pid());
        while !fs::read_link(&executable).is_ok_and(|path| path.file_name() == Some(OsStr::new(name))) {
            assert!(self.child.try_wait().expect("it is ours").is_none(), "it ended before it became {name}");
            assert!(self.started.elapsed() < self.timeout, "it has not become {name}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until its worker is locked up and waits for something itself; the worker's process.
    pub fn worker(&mut self) -> i32 {
        self.wait_for("handfast");
        loop {
            let children = format!("/proc/{pid}/task/{pid}/children", pid = self.pid());
            let children = fs::read_to_string(children).unwrap_or_default();
            if let Some(worker) = children.split_whitespace().next() {
                let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap_or_default();
                if status.contains("Seccomp:\t2") && status.contains("State:\tS") {
                    return worker.parse().expect("a number");
                }
            }
            assert!(self.started.elapsed() < self.timeout, "there is no worker");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end; the test fails where that takes too long.
    pub fn finish(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                break Some(status);
            }
            if self.started.elapsed() > self.timeout {
                let group = Pid::from_raw(self.pid());
                killpg(group, Signal::SIGKILL).expect("it is there");
                self.child.wait().expect("it is ours");
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let elapsed = self.started.elapsed();
        let stdout = self.stdout.join().expect("the pipe was read");
        let stderr = String::from_utf8_lossy(&self.stderr.join().expect("the pipe was read")).into_owned();
        let Some(status) = status else { panic!("not finished after {:?}; so far: {stderr}", self.timeout) };
        let code = code(status);
        let memory = self.traced.then(|| {
            let text = fs::read(self.directory.path().join(MEMORY)).expect("the tracer has written its report");
            serde_json::from_slice(&text).expect("the tracer's report is JSON")
        });
        Outcome { code, stdout, stderr, elapsed, memory }
    }
}

/// How a start of handfast ended.
pub struct Outcome {
    /// The exit code, or 128+n where signal n killed it.
    pub code: i32,
    /// All that was written to standard output: the app's, and nobody else's.
    pub stdout: Vec<u8>,
    /// All that was written to standard error.
    pub stderr: String,
    /// From the start to the end.
    pub elapsed: Duration,
    memory: Option<Value>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, stdout, stderr, elapsed, .. } = self;
        write!(formatter, "exit {code} after {elapsed:?}\n{stderr}\n{}", String::from_utf8_lossy(stdout))
    }
}

impl Outcome {
    /// Of a program that was started and waited for in another way.
    pub fn of(output: Output, elapsed: Duration) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: code(output.status), stdout: output.stdout, stderr, elapsed, memory: None }
    }

    /// What the probe saw.
    pub fn probe(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("no report of the probe ({error}): {self:?}"))
    }

    /// Whether the probe, in the app's place, was started at all.
    pub fn app_ran(&self) -> bool {
        !self.stdout.is_empty()
    }

    /// What [`Run::traced`] found, one entry per process and moment.
    pub fn memory(&self) -> &Value {
        self.memory.as_ref().expect("the run was traced")
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().expect("no code, so a signal"))
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}
