//! Server processes, which never outlive the one that started them.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::directory::Directory;

/// How long a server may take until it answers, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of a server's log is shown.
const LOG_SHOWN: usize = 16 << 10;

/// Keeps one server: ends it when the pipe on its standard input ends, which it does with us even where we are killed, and
/// then removes the server's directory, after the script `at-end` in it, for what a server leaves elsewhere. The server also
/// dies with its keeper.
///
/// PDEATHSIG alone is not enough: it counts from the thread that started the child, and a test's thread ends with the test.
const KEEPER: &str = r#"
directory=$1; shift
exec 3<&0 </dev/null
setpriv --pdeathsig KILL "$@" 3<&- &
server=$!
{ read -r _ <&3; kill -KILL "$server"; } 2>/dev/null &
watcher=$!
exec 3<&-
wait "$server" 2>/dev/null
kill "$watcher" 2>/dev/null
[ ! -e "$directory/at-end" ] || sh "$directory/at-end" "$directory"
rm -rf -- "$directory"
"#;

/// A server process with a directory of its own.
pub struct Process {
    name: String,
    keeper: Child,
    directory: PathBuf,
    /// Open, so that it can be read when the directory is gone.
    log: File,
}

impl Process {
    /// Starts a program, whose name is for messages, with nothing of our environment but PATH. Its output goes into the file
    /// `log` of its directory.
    pub fn start(name: &str, directory: Directory, command: &[&str], environment: &[(&str, &str)]) -> Self {
        let path = directory.path().join("log");
        let written = File::create(&path).expect("it is ours");
        let log = File::open(&path).expect("it was made");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directory = directory.keep();
        let keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&directory)
            .args(command)
            .env_clear()
            .env("PATH", path)
            .env("HOME", &directory)
            .envs(environment.iter().copied())
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(written.try_clone().expect("there are descriptors left"))
            .stderr(written)
            // Keys that interrupt the tests are not for it: it ends when they have.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), keeper, directory, log }
    }

    /// Its directory, which goes with it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Tries until there is an answer. Panics, with what the server wrote, when it ends or takes too long.
    pub fn wait_for<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = attempt() {
                return answer;
            }
            let ended = self.keeper.try_wait().expect("it is our child").is_some();
            assert!(!ended, "{} ended:\n{}", self.name, self.log());
            assert!(Instant::now() < deadline, "{} does not answer:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has written last.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        let mut part = [0; 8192];
        while let Ok(count @ 1..) = self.log.read_at(&mut part, text.len() as u64) {
            text.extend_from_slice(&part[..count]);
        }
        // The end, where it has much to say: panics print it.
        String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_SHOWN)..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A free port of 127.0.0.1 whose successor is free too (Vault's cluster port). No two calls in one process give the same.
pub fn free_port() -> u16 {
    // Below those that Linux gives to outgoing connections, which could take it before the server does. Each process begins
    // elsewhere, since they do not see what the others have been given but not yet taken.
    const PORTS: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let turn = NEXT.fetch_add(2, Ordering::Relaxed);
        let port = 20_000 + (std::process::id().wrapping_mul(74).wrapping_add(turn) % PORTS) as u16;
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 1) {
            return port;
        }
    }
    panic!("no two free ports in a row");
}
