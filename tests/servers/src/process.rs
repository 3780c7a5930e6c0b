//! Server processes, which never outlive the process that started them.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::directory::Directory;

/// The longest time until a server answers, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shown part of a server's log.
const LOG_SHOWN: usize = 16 << 10;

/// The keeper of one server. It ends the server when the pipe on its standard input ends; this happens when the tests' process
/// ends, even if it is killed. Then it runs the script `at-end` in the server's directory, which removes traces elsewhere, and
/// removes the directory. The server also dies with its keeper.
///
/// PDEATHSIG alone is not enough: it refers to the thread that started the child, and a test's thread ends with the test.
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

/// A server process with its own directory.
pub struct Process {
    name: String,
    keeper: Child,
    directory: PathBuf,
    /// The open log, which stays readable after the directory is removed.
    log: File,
}

impl Process {
    /// Starts a program with no variable of our environment but PATH. The name is for messages. The output goes into the file
    /// `log` of the directory.
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
            // Key presses that interrupt the tests must not reach the server: it ends after the tests.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), keeper, directory, log }
    }

    /// The server's directory, which is removed with the server.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Repeats until there is an answer. Panics with the server's output if the server ends or takes too long.
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

    /// The end of the server's output.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        let mut part = [0; 8192];
        while let Ok(count @ 1..) = self.log.read_at(&mut part, text.len() as u64) {
            text.extend_from_slice(&part[..count]);
        }
        // Show only the end of a long log, since panics print it.
        String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_SHOWN)..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A free port of 127.0.0.1 whose successor is free too (Vault's cluster port). Each call in a process returns another port.
pub fn free_port() -> u16 {
    // Use ports below the range that Linux gives to outgoing connections, which could take a port before the server does. Each
    // process starts at another port, since processes do not see each other's reserved ports.
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
