//! A running `handfast watch` or `handfast run --supervise`, with a way of its own to the store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use handfast_testservers::FaultProxy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Result;
use crate::process::children;
use crate::programs::Programs;
use crate::scratch::Scratch;
use crate::store::{LOGIN, Store};

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a keeper is, from before its start until its end.
pub struct Keeper {
    pub name: &'static str,
    pub proxy: FaultProxy,
    /// When its first set was there.
    pub ready: Instant,
    child: Child,
    files: Scratch,
    /// Its configuration and its log.
    own: Scratch,
}

impl Keeper {
    /// Starts `handfast WORDS`, with this configuration after the login's.
    pub fn start(
        name: &'static str,
        programs: &Programs,
        store: &Store,
        proxy: FaultProxy,
        words: &[&str],
        configuration: &str,
    ) -> Result<Self> {
        let (own, files) = (Scratch::new(&std::env::temp_dir())?, Scratch::new(Path::new("/dev/shm"))?);
        let [toml, ca_file, log] = ["handfast.toml", "ca.pem", "log"].map(|name| own.path().join(name));
        fs::write(&ca_file, store.authority.pem())?;
        let role = &store.role.role_id;
        let login = format!("auth = {{ method = \"approle\", mount = \"{LOGIN}\", role_id = \"{role}\" }}");
        fs::write(&toml, format!("[app]\nuser = \"65532:65532\"\n[providers.vault]\n{login}\n{configuration}"))?;
        let (options, app) = match words.split_once_at("--") {
            Some((options, app)) => (options, app),
            None => (words, &[][..]),
        };
        // It ends with the benchmark, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(&programs.handfast).args(options);
        command.arg("--config").arg(toml).arg("--dir").arg(files.path()).args(app);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("VAULT_ADDR", proxy.address())
            .env("VAULT_CACERT", ca_file);
        command.env("VAULT_SECRET_ID", &store.role.secret_id).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(File::create(log)?).spawn()?;
        Ok(Self { name, proxy, ready: Instant::now(), child, files, own })
    }

    /// Waits until this file is there.
    pub fn wait_for(&mut self, file: &str) -> Result<()> {
        let start = Instant::now();
        while self.content(file).is_none() {
            if start.elapsed() > PATIENCE || self.has_ended()? {
                return Err(format!("{}: has not started: {}", self.name, self.log()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.ready = Instant::now();
        Ok(())
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Its worker; none where it is gone.
    pub fn worker(&self) -> Result<Option<i32>> {
        Ok(children(self.pid())?.into_iter().find(|(_, name)| name == "handfast").map(|(worker, _)| worker))
    }

    /// What a file holds.
    pub fn content(&self, file: &str) -> Option<Vec<u8>> {
        fs::read(self.path(file)).ok()
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.files.path().join(file)
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.own.path().join("log")).unwrap_or_default()
    }

    /// Ends it by TERM. Its exit code; none where a signal has ended it.
    pub fn end(&mut self) -> Result<Option<i32>> {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM)?;
        let start = Instant::now();
        while !self.has_ended()? {
            if start.elapsed() > PATIENCE {
                return Err(format!("{}: does not end", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Where it has ended, there is nothing to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The words before a separator, and those from it on.
trait SplitOnce {
    fn split_once_at(&self, separator: &str) -> Option<(&Self, &Self)>;
}

impl SplitOnce for [&str] {
    fn split_once_at(&self, separator: &str) -> Option<(&Self, &Self)> {
        self.iter().position(|word| *word == separator).map(|at| self.split_at(at))
    }
}
