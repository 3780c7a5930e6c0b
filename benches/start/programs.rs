//! The measured programs and the measuring tools: given by variables, or built as they are shipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::scratch::Scratch;

/// Copies of the programs in a directory that every user can enter. Not every user can enter a checkout.
pub struct Programs {
    pub handfast: PathBuf,
    #[allow(dead_code, reason = "not every benchmark starts it")]
    pub noop: PathBuf,
    #[allow(dead_code, reason = "not every benchmark measures with it")]
    pub at_exec: PathBuf,
    #[allow(dead_code, reason = "not every benchmark measures it")]
    pub least: PathBuf,
    directory: Scratch,
}

impl Programs {
    /// Uses HANDFAST_BIN and HANDFAST_TOOLS (a directory), or else builds the programs.
    pub fn find() -> Result<Self> {
        let built = target_directory()?.join(triple()).join("release");
        let handfast = match std::env::var_os("HANDFAST_BIN") {
            Some(path) => PathBuf::from(path),
            None => {
                build(&["--package", "handfast"])?;
                built.join("handfast")
            }
        };
        let tools = match std::env::var_os("HANDFAST_TOOLS") {
            Some(path) => PathBuf::from(path),
            None => {
                build(&["--package", "handfast-testtools", "--bin", "noop", "--bin", "at-exec", "--bin", "least"])?;
                built
            }
        };
        let directory = Scratch::new(&std::env::temp_dir())?;
        let copy = |from: &Path, name: &str| {
            let to = directory.path().join(name);
            fs::copy(from, &to).map(|_| to).map_err(|error| format!("cannot copy {}: {error}", from.display()))
        };
        Ok(Self {
            handfast: copy(&handfast, "handfast")?,
            noop: copy(&tools.join("noop"), "noop")?,
            at_exec: copy(&tools.join("at-exec"), "at-exec")?,
            least: copy(&tools.join("least"), "least")?,
            directory,
        })
    }
}

impl Programs {
    /// Another program of the workspace: from HANDFAST_TOOLS, if it is there, or else built in the same way.
    #[allow(dead_code, reason = "not every benchmark needs one")]
    pub fn another(&self, package: &str, name: &str) -> Result<PathBuf> {
        let given = std::env::var_os("HANDFAST_TOOLS").map(|tools| Path::new(&tools).join(name));
        let from = match given.filter(|path| path.is_file()) {
            Some(path) => path,
            None => {
                build(&["--package", package, "--bin", name])?;
                target_directory()?.join(triple()).join("release").join(name)
            }
        };
        let to = self.directory.path().join(name);
        fs::copy(from, &to)?;
        Ok(to)
    }

    /// The path of a new file with this name.
    #[allow(dead_code, reason = "not every benchmark writes one")]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The static target of this machine, for which handfast is shipped.
fn triple() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

fn build(what: &[&str]) -> Result<()> {
    let target = triple();
    let words =
        [&["build", "--config", ".cargo/static.toml", "--release", "--locked", "--target", &target], what].concat();
    println!("cargo {}", words.join(" "));
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env(format!("CC_{}", target.replace('-', "_")), "musl-gcc");
    if cargo.status()?.success() { Ok(()) } else { Err("cannot build it".into()) }
}

/// The benchmark itself is in `TARGET/release/deps`, or one level deeper if cargo was given a target.
fn target_directory() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let above = own.ancestors().nth(3).ok_or("the benchmark is not in cargo's target directory")?;
    let has_tag = |directory: &&Path| directory.join("CACHEDIR.TAG").exists();
    let found = above.ancestors().take(2).find(has_tag);
    Ok(found.unwrap_or(above).to_owned())
}
