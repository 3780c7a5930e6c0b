//! The requirements of a server. If a requirement is missing, an ordinary user's run skips the test and says so; as root and in
//! CI the test fails, so that no test is skipped unnoticed.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether the process runs as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a test can run. If not, prints a line that `tests/run` counts.
pub fn require(met: bool, what: &str) -> bool {
    if !met {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let strict = is_root() || env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!strict, "{name} needs {what}, and nothing is skipped as root or in CI");
        // Do not use `eprintln!`, whose output the test harness captures.
        let _ = std::io::stderr().write_all(format!("skipped: {name}: needs {what}\n").as_bytes());
    }
    met
}

/// The path of a program: in PATH, in Debian's directories for root, or in the directory of PostgreSQL's programs. Ignores
/// wrappers that some machines have in PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let postgres: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    let own = postgres.into_iter().chain(env::split_paths(&path)).chain(["/usr/sbin".into(), "/sbin".into()]);
    own.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Deno, which Debian does not have.
pub fn deno() -> Option<PathBuf> {
    built("deno")
}

/// The path of a server that `tests/servers/build` builds: from the variable that `tests/run` sets, or else built now, which
/// takes minutes the first time on a machine.
/// If the variable is empty, there is no server.
pub(crate) fn built(name: &str) -> Option<PathBuf> {
    if let Some(path) = env::var_os(format!("HANDFAST_{}", name.to_uppercase().replace('-', "_"))) {
        return (!path.is_empty()).then(|| path.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build");
    let output = Command::new(script).arg(name).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim_end().into())
}
