//! The harness of the integration tests: starts handfast as a runtime would, and tells what became of it.
//!
//! What is started inherits nothing from the machine: an environment of PATH only, no descriptors, signals as by default.
//! ```ignore
//! let outcome = Run::new().config("…").env("DB_FILE", "handfast:mock:db").start();
//! assert_eq!(outcome.code, 0, "{outcome:?}");
//! assert_eq!(outcome.probe()["status"]["NoNewPrivs"], 1);
//! ```

// Each test file is a crate of its own, and uses a part of this.
#![allow(dead_code, unused_imports, unused_macros)]
// The product may neither read the environment nor start programs wherever it likes; its tests may.
#![allow(clippy::disallowed_methods)]

mod directory;
mod memory;
mod programs;
mod requirements;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use directory::Directory;
pub use memory::{canary, hex, hits, scan};
pub use programs::{program, programs};
pub use requirements::{find_program, is_root, require};
pub(crate) use requirements::{needs_program, needs_root};

/// What the app finds in PATH, whatever the machine has there.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One start of handfast, to be described and then made.
pub struct Run {
    directory: Directory,
    command: &'static str,
    configs: usize,
    options: Vec<OsString>,
    app: Option<Vec<OsString>>,
    environment: Vec<(OsString, OsString)>,
    confine: Vec<OsString>,
    needles: Vec<String>,
    stdin: Vec<u8>,
    timeout: Duration,
}

impl Run {
    /// `handfast run -- probe`.
    pub fn new() -> Self {
        Self::command("run").app([program("probe")])
    }

    /// Any other command of handfast's, without an app.
    pub fn command(command: &'static str) -> Self {
        Self {
            directory: Directory::new(),
            command,
            configs: 0,
            options: Vec::new(),
            app: None,
            environment: vec![("PATH".into(), PATH.into())],
            confine: vec!["--clean".into()],
            needles: Vec::new(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(20),
        }
    }

    /// One more configuration file with this text.
    pub fn config(mut self, toml: &str) -> Self {
        self.configs += 1;
        let path = self.directory.write(&format!("handfast-{}.toml", self.configs), toml);
        self.arg("--config").arg(path)
    }

    /// One more option of handfast's.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.options.push(argument.as_ref().to_owned());
        self
    }

    /// More options of handfast's.
    pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// What handfast is to become, in the probe's place.
    pub fn app(mut self, command: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.app = Some(command.into_iter().map(|word| word.as_ref().to_owned()).collect());
        self
    }

    /// One more argument of the app's.
    pub fn app_arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.app.get_or_insert_default().push(argument.as_ref().to_owned());
        self
    }

    /// One more variable of handfast's environment; one of the same name replaces the former.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The state to start handfast in: options of the `confine` tool.
    pub fn confine<S: AsRef<OsStr>>(mut self, options: &[S]) -> Self {
        self.confine.extend(options.iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// Looks for these values in the memory of both processes when each is done ([`Outcome::memory`]). Needs root.
    pub fn traced(mut self, needles: &[&str]) -> Self {
        self.needles.extend(needles.iter().map(|needle| hex(needle.as_bytes())));
        self
    }

    /// What handfast and the app find in their standard input; nothing unless told.
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = bytes.as_ref().to_vec();
        self
    }

    /// How long it may take before the test fails: 20 seconds unless told.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Starts it and waits for its end.
    pub fn start(self) -> Outcome {
        self.spawn().finish()
    }

    /// Starts it and lets it run.
    pub fn spawn(self) -> Running {
        let mut words = self.words();
        let mut command = Command::new(words.remove(0));
        command.args(words).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        // A group of its own, so that all of it can be ended when it takes too long.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("the tools can be started");
        let mut input = child.stdin.take().expect("piped");
        let bytes = self.stdin;
        // A program that ends without reading its input is no failure of the test.
        std::thread::spawn(move || input.write_all(&bytes));
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        let started = Instant::now();
        Running {
            directory: self.directory,
            traced: !self.needles.is_empty(),
            child,
            stdout,
            stderr,
            started,
            timeout: self.timeout,
        }
    }

    /// `[at-exec …] confine … -- handfast COMMAND … [-- APP …]`
    fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        if !self.needles.is_empty() {
            words.extend([program("at-exec").into(), "--nth".into(), "3".into()]);
            words.extend(["--out".into(), self.directory.path().join(MEMORY).into()]);
            words.extend(self.needles.iter().flat_map(|needle| ["--needle".into(), needle.into()]));
            words.push("--".into());
        }
        words.push(program("confine").into());
        words.extend(self.confine.iter().cloned());
        words.extend(["--".into(), program("handfast").into(), self.command.into()]);
        words.extend(self.options.iter().cloned());
        if let Some(app) = &self.app {
            words.push("--".into());
            words.extend(app.iter().cloned());
        }
        words
    }
}

const MEMORY: &str = "memory.json";

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

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
    /// The process: confine's at first, then handfast's, then the app's (the tracer's where it is traced).
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are small")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("it is there");
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

    /// Waits for its end; the test fails where that takes too long.
    pub fn finish(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                break Some(status);
            }
            if self.started.elapsed() > self.timeout {
                let group = nix::unistd::Pid::from_raw(self.pid());
                nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).expect("it is there");
                self.child.wait().expect("it is ours");
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let elapsed = self.started.elapsed();
        let stdout = self.stdout.join().expect("the pipe was read");
        let stderr = String::from_utf8_lossy(&self.stderr.join().expect("the pipe was read")).into_owned();
        let Some(status) = status else { panic!("not finished after {:?}; so far: {stderr}", self.timeout) };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().expect("no code, so a signal"));
        let memory = self.traced.then(|| {
            let text = fs::read(self.directory.path().join(MEMORY)).expect("the tracer has written its report");
            serde_json::from_slice(&text).expect("the tracer's report is JSON")
        });
        Outcome { code, stdout, stderr, elapsed, memory }
    }
}

/// How a start of handfast ended.
#[derive(Debug)]
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

impl Outcome {
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
