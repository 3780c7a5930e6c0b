//! Containers: run, and judged by what came of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use handfast_testservers::Docker;
use serde_json::Value;

use crate::support::{Directory, Outcome};

/// `docker run --network none WORDS…`, waited for. It is removed, unless the words give it a name to be found by.
pub fn run(docker: &Docker, words: &[&str]) -> Outcome {
    let keep = words.contains(&"--name");
    let first: &[&str] = if keep { &["run", "--network", "none"] } else { &["run", "--rm", "--network", "none"] };
    let started = Instant::now();
    let output = docker.output(&[first, words].concat());
    Outcome::of(output, started.elapsed())
}

/// What containers share with the tests without the engine's knowing the content: secrets to fetch in `/run/source`, and
/// reports of the probe (`--out /run/out/NAME`), which hold secrets and so may not be on its standard output. All in memory.
pub struct Shared(Directory);

impl Shared {
    /// Both empty.
    pub fn new() -> Self {
        let directory = Directory::in_memory();
        for (name, mode) in [("source", 0o755), ("out", 0o1777)] {
            let path = directory.path().join(name);
            fs::create_dir(&path).expect("it is ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        Self(directory)
    }

    /// A file in `/run/source` that every user may read.
    pub fn source(&self, name: &str, content: &str) {
        self.0.write(&format!("source/{name}"), content);
    }

    /// The words that mount both.
    pub fn words(&self) -> [String; 4] {
        let mount = |name, options| format!("{}/{name}:/run/{name}{options}", self.0.text());
        ["--volume".into(), mount("source", ":ro"), "--volume".into(), mount("out", "")]
    }

    /// What the probe has written to `/run/out/NAME`; `None` where it was never started.
    pub fn report(&self, name: &str) -> Option<Value> {
        let text = fs::read(self.0.path().join("out").join(name)).ok()?;
        Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: no report of the probe: {error}")))
    }
}
