//! `run --supervise` over a hundred changes: no value of before is left, in memory, in a descriptor, or in what is told.

use std::fs;
use std::path::Path;

use crate::metrics::{counted, get};
use crate::supervised::{Supervised, children, comm, descriptors, end, until};
use crate::support::{Directory, Run, canary, hits, needs_root, scan};
use handfast_testservers::free_port;

const CHANGES: usize = 100;

/// A source, and what becomes of it: the file `db` and, where a change restarts the app, its descriptor 3.
struct Scene {
    source: Directory,
    files: Directory,
    /// In each value but the last.
    old: String,
    /// Of the metrics.
    port: u16,
}

impl Scene {
    fn new() -> Self {
        let scene =
            Self { source: Directory::in_memory(), files: Directory::in_memory(), old: canary(), port: free_port() };
        scene.change(&format!("{} 0", scene.old));
        scene
    }

    fn change(&self, value: &str) {
        self.source.write("new", value);
        fs::rename(self.source.path().join("new"), self.source.path().join("db")).expect("it is ours");
    }

    fn start(&self, on_change: &str, secrets: &str) -> Supervised {
        let config = format!(
            "[watch]\nrefresh = \"300d\"\nquiet = \"0s\"\nsplay = \"0s\"\non_change = \"{on_change}\"\n\
             metrics = \"127.0.0.1:{port}\"\n\
             [secrets.db]\nfrom = \"file:{source}/db\"\nfile = \"db\"\n{}",
            secrets.replace('@', self.source.text()),
            source = self.source.text(),
            port = self.port,
        );
        let run = Run::new().config(&config).args(["--supervise", "--dir", self.files.text(), "--log-level", "debug"]);
        Supervised::start(run.app(["/bin/sleep", "1000"]).timeout(std::time::Duration::from_secs(200)), "sleep")
    }

    /// Changes the source a hundred times and once more, each time until it is `published`; then looks for what was before. Whether the
    /// supervisor holds the last value, in a descriptor.
    fn rotate(&self, supervised: Supervised, published: impl Fn(&Supervised, &str) -> bool) -> bool {
        let last = canary();
        let values = (1..=CHANGES).map(|change| format!("{} {change}", self.old)).chain([last.clone()]);
        for value in values {
            self.change(&value);
            until("the change is there", || published(&supervised, &value).then_some(()));
        }
        let worker = until("the worker is there", || {
            let others = children(supervised.supervisor).into_iter();
            others.into_iter().find(|child| comm(*child) == "handfast")
        });
        let mut is_held = false;
        // The worker drops the last but one when it learns that the last was delivered.
        for pid in [supervised.supervisor, worker] {
            until("no value of before is left in memory", || hits(&scan(pid, &[&self.old])).is_empty().then_some(()));
            for (number, target) in descriptors(pid) {
                let is_memory = target.to_string_lossy().starts_with("/memfd:");
                let content = if is_memory { read(pid, number) } else { String::new() };
                assert!(!content.contains(&self.old), "descriptor {number} of process {pid}");
                is_held |= content == last;
            }
        }
        let mine = std::process::id().cast_signed();
        assert_ne!(hits(&scan(mine, &[&self.old])), Vec::<String>::new(), "the search finds what is there");
        let status = fs::read_to_string(self.files.path().join("..handfast/status.json")).expect("everybody may");
        assert!(!status.contains(&self.old) && !status.contains(&last));
        counted(self.port, "handfast_secret_changes_total{secret=\"db\"}", CHANGES as f64);
        let metrics = get(self.port);
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n") && metrics.ends_with("\n# EOF\n"), "{metrics}");
        assert!(!metrics.contains(&self.old) && !metrics.contains(&last), "{metrics}");
        let outcome = end(supervised, 143);
        outcome.never_says(&self.old).never_says(&last);
        is_held
    }

    fn has_file(&self, value: &str) -> bool {
        fs::read_to_string(self.files.path().join("db")).is_ok_and(|content| content == value)
    }
}

fn read(pid: i32, descriptor: i32) -> String {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("fd").join(descriptor.to_string()))
        .unwrap_or_default()
}

#[test]
fn a_hundred_changes_later_no_value_of_before_is_anywhere() {
    needs_root!();
    let scene = Scene::new();
    let supervised = scene.start("none", "");
    assert!(!scene.rotate(supervised, |_, value| scene.has_file(value)));
}

#[test]
fn a_hundred_restarts_later_no_value_of_before_is_anywhere() {
    needs_root!();
    let scene = Scene::new();
    let supervised = scene.start("restart", "[secrets.descriptor]\nfrom = \"file:@/db\"\nfd = 3\n");
    let is_held = scene.rotate(supervised, |supervised, value| {
        let app = children(supervised.supervisor).into_iter().find(|child| comm(*child) == "sleep");
        scene.has_file(value) && app.is_some_and(|app| read(app, 3) == value)
    });
    assert!(is_held, "the next app gets it from there");
}
