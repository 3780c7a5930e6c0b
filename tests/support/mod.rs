//! The harness of the integration tests: starts handfast as a container runtime would, and returns the outcome.
//!
//! A started process inherits nothing from the machine: an environment of PATH only, no descriptors, default signals.
//! ```ignore
//! let outcome = Run::new().config("…").env("DB_FILE", "handfast:mock:db").start();
//! assert_eq!(outcome.code, 0, "{outcome:?}");
//! assert_eq!(outcome.probe()["status"]["NoNewPrivs"], 1);
//! ```

// Each subject is a crate of its own, and uses a part of this.
#![allow(dead_code, unused_imports, unused_macros)]
// The product may neither read the environment nor start programs wherever it likes; its tests may.

mod directory;
mod imports;
mod ledger;
mod memory;
pub mod others;
pub mod plain;
mod programs;
mod requirements;
mod running;
mod scene;
mod source;
mod trace;
mod tree;
mod verdict;
mod yaml;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use directory::Directory;
pub use imports::Imports;
pub use ledger::Ledger;
pub use memory::{canary, hex, hits, scan};
pub use programs::{program, programs};
pub use requirements::{find_program, is_root, require};
pub(crate) use requirements::{needs_program, needs_root};
pub use running::{Outcome, Running};
pub use scene::Scene;
pub use source::{Source, has_word, sources};
pub use trace::{Call, Trace};
pub use tree::tree;
pub use yaml::Yaml;

/// The app's PATH, which does not depend on the machine.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A start of handfast: a builder that describes and then runs it.
pub struct Run {
    directory: Directory,
    command: &'static str,
    configs: usize,
    options: Vec<OsString>,
    app: Option<Vec<OsString>>,
    environment: Vec<(OsString, OsString)>,
    through: Vec<OsString>,
    confine: Vec<OsString>,
    traced: bool,
    needles: Vec<String>,
    stdin: Vec<u8>,
    timeout: Duration,
}

impl Run {
    /// `handfast run -- probe`.
    pub fn new() -> Self {
        Self::command("run").app([program("probe")])
    }

    /// The probe alone, without handfast: what an app sees of the same start.
    pub fn direct() -> Self {
        Self { command: "", ..Self::new() }
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
            through: Vec::new(),
            confine: vec!["--clean".into()],
            traced: false,
            needles: Vec::new(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(20),
        }
    }

    /// The same with another command of handfast's, without an app.
    pub fn with_command(self, command: &'static str) -> Self {
        Self { command, app: None, ..self }
    }

    /// Adds a configuration file with this text.
    pub fn config(mut self, toml: &str) -> Self {
        self.configs += 1;
        let path = self.directory.write(&format!("handfast-{}.toml", self.configs), toml);
        self.arg("--config").arg(path)
    }

    /// Adds an option of handfast.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.options.push(argument.as_ref().to_owned());
        self
    }

    /// More options of handfast's.
    pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// The command that handfast becomes, instead of the probe.
    pub fn app(mut self, command: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.app = Some(command.into_iter().map(|word| word.as_ref().to_owned()).collect());
        self
    }

    /// Adds an argument of the app.
    pub fn app_arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.app.get_or_insert_default().push(argument.as_ref().to_owned());
        self
    }

    /// More arguments of the app's.
    pub fn args_of_app(self, arguments: &[&str]) -> Self {
        arguments.iter().fold(self, Self::app_arg)
    }

    /// Sets a variable in handfast's environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The state to start handfast in: options of the `confine` tool.
    pub fn confine<S: AsRef<OsStr>>(mut self, options: &[S]) -> Self {
        self.confine.extend(options.iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// A program of the machine's that starts `confine` (and so handfast) in its turn: `unshare --pid --fork`, `strace`.
    pub fn through<S: AsRef<OsStr>>(mut self, words: &[S]) -> Self {
        self.through.extend(words.iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Looks for these values in the memory of both processes when each is done ([`Outcome::memory`]). Needs root.
    pub fn traced(mut self, needles: &[&str]) -> Self {
        self.traced = true;
        self.needles.extend(needles.iter().map(|needle| hex(needle.as_bytes())));
        self
    }

    /// Tells how much memory each process has had in use (`peak_kib` in [`Outcome::memory`]), and looks for nothing in it.
    pub fn measured(self) -> Self {
        self.traced(&[])
    }

    /// The standard input of handfast and the app. Default: empty.
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
        // Not the checkout, which may be one that the app's user can't enter.
        command.current_dir("/");
        // A group of its own, so that all of it can be ended when it takes too long.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let started = Instant::now();
        let mut child = command.spawn().expect("the tools can be started");
        let mut input = child.stdin.take().expect("piped");
        let bytes = self.stdin;
        // A program that ends without reading its input is no failure of the test.
        std::thread::spawn(move || input.write_all(&bytes));
        Running::new(child, started, self.directory, self.traced, self.timeout)
    }

    /// `[at-exec …] [THROUGH …] confine … -- handfast COMMAND … [-- APP …]`
    fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        if self.traced {
            words.extend([program("at-exec").into(), "--nth".into(), "3".into()]);
            words.extend(["--out".into(), self.directory.path().join(MEMORY).into()]);
            words.extend(self.needles.iter().flat_map(|needle| ["--needle".into(), needle.into()]));
            words.push("--".into());
        }
        words.extend(self.through.iter().cloned());
        words.push(program("confine").into());
        words.extend(self.confine.iter().cloned());
        words.push("--".into());
        if !self.command.is_empty() {
            words.extend([program("handfast").into(), self.command.into()]);
            words.extend(self.options.iter().cloned());
            words.extend(self.app.iter().map(|_| "--".into()));
        }
        words.extend(self.app.iter().flatten().cloned());
        words
    }
}

/// The tracer's report, in the run's own directory.
const MEMORY: &str = "memory.json";
