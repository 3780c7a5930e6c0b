//! Invariant 2 for a keeper that is killed at any moment: what is left is whole, and the next start repairs all.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Directory, Run, Running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_keeper_that_is_killed_at_any_moment_leaves_whole_sets_and_nothing_that_stays() {
    kill_often(60);
}

/// Kills so many keepers, each at a random moment of its start or of its changes. How many had published a change by then.
pub fn kill_often(count: u32) -> u32 {
    let (directory, source) = (Directory::in_memory(), Directory::in_memory());
    let user = format!("{}:{}", nix::unistd::geteuid(), nix::unistd::getegid());
    let config = format!(
        "[app]\nuser = \"{user}\"\nallow_root = true\n[watch]\nrefresh = \"300d\"\nquiet = \"0s\"\n\
         [secrets.all]\nfrom = \"file:{}/all#*\"\n",
        source.text()
    );
    let keeper = || Run::command("watch").config(&config).args(["--dir", directory.text()]).spawn();
    let mut number = 0;
    let mut write = || {
        number += 1;
        let text = format!("\"{}\"", format!("{number} ").repeat(1 + number % 500));
        source.write("new", format!("{{\"a\":{text},\"b\":{text},\"c\":{text}}}"));
        fs::rename(source.path().join("new"), source.path().join("all")).expect("it is ours");
    };
    write();
    let mut changed = 0;
    for round in 0..count {
        let running = keeper();
        let (start, life) =
            (Instant::now(), Duration::from_micros(fastrand::u64(..if round % 3 == 0 { 40_000 } else { 120_000 })));
        let before = fs::read_link(directory.path().join("..data")).ok();
        while start.elapsed() < life {
            write();
            // Only one that lives takes HUP for an order; to one that starts, it is the end.
            if is_alive(directory.path(), running.pid()) {
                running.signal(Signal::SIGHUP);
            }
            std::thread::sleep(Duration::from_millis(1).min(life.saturating_sub(start.elapsed())));
        }
        let after = fs::read_link(directory.path().join("..data")).ok();
        changed += u32::from(before.is_some() && before != after);
        kill(Pid::from_raw(running.pid()), Signal::SIGKILL).expect("it is there");
        running.finish();
        look(directory.path());
        // What several have left is repaired as well.
        if round % 4 == 3 {
            repaired(keeper(), directory.path());
        }
    }
    repaired(keeper(), directory.path());
    changed
}

/// Once a keeper has started, all that others have left is gone.
fn repaired(keeper: Running, directory: &Path) {
    let ready = Run::command("ready").arg("--dir").arg(directory).args(["--wait", "10s"]).start();
    assert_eq!(ready.code, 0, "{ready:?}");
    look(directory);
    let sorted = |path: &Path| {
        let names = fs::read_dir(path).expect("it is there").map(|entry| entry.expect("it is there").file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("made of ASCII")).collect();
        names.sort();
        names
    };
    let names = sorted(directory);
    assert!(names.len() == 6 && names[2].starts_with("..handfast_"), "all that was left is gone: {names:?}");
    assert_eq!([&names[..2], &names[3..]].concat(), ["..data", "..handfast", "a", "b", "c"]);
    assert_eq!(sorted(&directory.join("..handfast")), ["alive", "lock", "status.json"]);
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

/// Whether this process is the keeper that has its lock there.
fn is_alive(directory: &Path, pid: i32) -> bool {
    let alive = directory.join("..handfast/alive");
    let held = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    held.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|path| path == alive)
}

/// Every file is there or none, and all are of one set.
fn look(directory: &Path) {
    let texts = ["a", "b", "c"].map(|name| fs::read_to_string(directory.join("..data").join(name)).ok());
    assert!(texts[0] == texts[1] && texts[1] == texts[2], "a mixed set: {texts:?}");
    let Some(text) = &texts[0] else {
        assert!(fs::symlink_metadata(directory.join("..data")).is_err(), "a set without its files");
        return;
    };
    assert!(text.split(' ').filter(|word| !word.is_empty()).all(|word| text.starts_with(word)), "torn: {text}");
    for name in ["a", "b", "c"] {
        assert_eq!(fs::read_to_string(directory.join(name)).as_ref().ok(), Some(text), "{name}");
    }
}
