//! What a test needs from the machine. An ordinary user's run leaves out what can't be had, and says so; root's and CI's
//! fail instead, so that nothing is left out unseen.

use std::env;
use std::io::Write;
use std::path::PathBuf;

/// Whether this is root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a test can run: where not, one line that `tests/run` counts.
pub fn require(met: bool, what: &str) -> bool {
    if !met {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let strict = is_root() || env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!strict, "{name} needs {what}, and nothing is skipped as root or in CI");
        // Not by `eprintln!`, which the test harness keeps to itself.
        let _ = std::io::stderr().write_all(format!("skipped: {name}: needs {what}\n").as_bytes());
    }
    met
}

/// Ends the test here unless it runs as root.
macro_rules! needs_root {
    () => {
        if !$crate::support::require($crate::support::is_root(), "root") {
            return;
        }
    };
}

/// The path of a program of the machine's; ends the test here where there is none.
macro_rules! needs_program {
    ($name:expr) => {{
        let found = $crate::support::find_program($name);
        if !$crate::support::require(found.is_some(), $name) {
            return;
        }
        found.expect("it was found")
    }};
}

/// Where a program is, in PATH or where Debian keeps PostgreSQL's.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let postgres = versions.map(|version| version.path().join("bin"));
    env::split_paths(&path).chain(postgres).map(|directory| directory.join(name)).find(|file| file.is_file())
}

pub(crate) use {needs_program, needs_root};
