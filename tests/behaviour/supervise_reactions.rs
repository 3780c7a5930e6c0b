//! `run --supervise` with one secret whose change restarts the app, and one whose change is a signal.

use std::fs;
use std::time::Duration;

use super::supervise_restart::{app, supervised};
use crate::supervised::{Supervised, children, end, until};
use crate::support::{Directory, Run};

/// A file whose change restarts the app, and one whose change is a signal.
fn restart_and_signal(directory: &Directory, files: &Directory, watch: &str) -> Run {
    let secret = |name: &str, action: &str| {
        let file = directory.write(name, "old");
        format!("[secrets.{name}]\nfrom = \"file:{}\"\non_change = \"{action}\"\n", file.display())
    };
    let secrets = [secret("a", "restart"), secret("c", "signal:CONT")].concat();
    let config = format!("[watch]\nrefresh = \"1s\"\n{watch}\n[files]\ndir = \"{}\"\n{secrets}", files.text());
    supervised(&config).app(["/bin/sleep", "100"])
}

/// A new app reads everything anyway.
#[test]
fn a_restart_beats_a_signal() {
    let (directory, files) = (Directory::in_memory(), Directory::in_memory());
    let run = restart_and_signal(&directory, &files, "quiet = \"1s\"\nsplay = \"3s\"");
    let supervised = Supervised::start(run, "sleep");
    ["c", "a"].iter().for_each(|name| drop(directory.write(name, "new")));
    app(&supervised, "sleep", &[supervised.app]);
    let outcome = end(supervised, 143);
    outcome.says("info: changed: a, c\n").says("info: `a` has changed: the app is started anew\n");
    outcome.never_says("sent the app");
}

/// With no part of it this short.
#[test]
fn a_restart_waits_a_part_of_splay_and_no_signal_is_sent_meanwhile() {
    let (directory, files) = (Directory::in_memory(), Directory::in_memory());
    let run = restart_and_signal(&directory, &files, "quiet = \"0s\"\nsplay = \"300d\"");
    let supervised = Supervised::start(run, "sleep");
    for name in ["a", "c"] {
        directory.write(name, "new");
        until("the file has changed", || (fs::read_to_string(files.path().join(name)).ok()? == "new").then_some(()));
    }
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(children(supervised.supervisor).iter().filter(|child| **child == supervised.app).count(), 1);
    let outcome = end(supervised, 143);
    outcome.says("info: changed: c\n").never_says("started anew").never_says("sent the app");
}
