//! Containers: run, and judged by what came of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

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

/// A container that runs while the test goes on; removed at the end.
pub struct Detached<'docker> {
    docker: &'docker Docker,
    id: String,
}

impl<'docker> Detached<'docker> {
    /// `docker run --detach --network none WORDS…`
    pub fn start(docker: &'docker Docker, words: &[&str]) -> Self {
        let id = docker.must(&[&["run", "--detach", "--network", "none"], words].concat());
        Self { docker, id }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it has written to standard output and standard error.
    pub fn logs(&self) -> (String, String) {
        let output = self.docker.output(&["logs", &self.id]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    /// Waits until it has written this.
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !(self.logs().0 + &self.logs().1).contains(text) {
            assert!(Instant::now() < deadline, "no `{text}` in {:?}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a process of it has these arguments, or more.
    pub fn until_it_runs(&self, arguments: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let runs = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            words.join(" ").starts_with(arguments)
        };
        // The engine finds the processes of the container by the number.
        while !self.docker.must(&["top", &self.id, "-o", "pid,args"]).lines().any(runs) {
            assert!(Instant::now() < deadline, "it does not run {arguments}: {:?}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The code of its end, for which this waits.
    pub fn code(&self) -> i32 {
        self.docker.must(&["wait", &self.id]).parse().expect("a number")
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        self.docker.output(&["rm", "--force", "--volumes", &self.id]);
    }
}
