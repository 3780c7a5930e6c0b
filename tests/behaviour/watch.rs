//! `watch`: what has changed is delivered anew, what has not is left alone, and how it ends.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::supervised::fill;
use crate::support::{Directory, Run, Running, needs_root, program};
use handfast::sys::jobs;
use nix::sys::signal::Signal;

/// Two secrets: `db` changes each second, `still` never.
pub const CHANGING: &str = "[watch]\nrefresh = \"1s\"\nquiet = \"100ms\"\n[providers.fast]\ntype = \"mock\"\nrotate_every = \"1s\"\n\
    [secrets.db]\nfrom = \"fast:db\"\n[secrets.still]\nfrom = \"mock:still\"\n";

/// A keeper of these secrets, once it lives.
pub fn watch(config: &str, directory: &Directory) -> Running {
    let running = unready(config, directory).spawn();
    ready(directory, Duration::from_secs(10));
    running
}

/// The same, to be started.
pub fn unready(config: &str, directory: &Directory) -> Run {
    Run::command("watch").config(config).args(["--dir", directory.text(), "--log-level", "info"])
}

/// Waits until `ready` says so.
pub fn ready(directory: &Directory, patience: Duration) {
    let wait = format!("{}s", patience.as_secs());
    let outcome = Run::command("ready").args(["--dir", directory.text(), "--wait", &wait]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// What a file holds; its user may be another's.
pub fn content(directory: &Directory, name: &str) -> String {
    fs::read_to_string(directory.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Waits until a file holds something else.
pub fn changed(directory: &Directory, name: &str, before: &str, patience: Duration) -> String {
    let start = Instant::now();
    loop {
        let now = content(directory, name);
        if now != before {
            return now;
        }
        assert!(start.elapsed() < patience, "`{name}` is still {before}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_change_is_a_new_generation_that_leaves_the_rest_alone() {
    let directory = Directory::in_memory();
    let keeper = watch(CHANGING, &directory);
    let identity = |name: &str| {
        let status = fs::metadata(directory.path().join(name)).expect("it is there");
        (status.ino(), status.mtime(), status.mtime_nsec())
    };
    let (still, first) = (identity("still"), fs::read_link(directory.path().join("..data")).expect("a link"));
    assert_eq!(
        (content(&directory, "still"), content(&directory, "db").starts_with("mock-db-")),
        ("mock-still".into(), true)
    );
    let mut before = content(&directory, "db");
    for _ in 0..3 {
        before = changed(&directory, "db", &before, Duration::from_secs(5));
        assert!(before.starts_with("mock-db-"), "{before}");
        assert_eq!(identity("still"), still, "the file that has not changed is the same file");
    }
    // Who went on with the old set finds it whole for a minute.
    let old = directory.path().join(&first);
    assert_eq!(fs::read_to_string(old.join("still")).expect("it stays"), "mock-still");
    assert_ne!(fs::read_link(directory.path().join("..data")).expect("a link"), first);
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says("info: changed: db");
    assert!(!outcome.stderr.contains("changed: db, still") && outcome.stdout.is_empty(), "{outcome:?}");
}

#[test]
fn equal_bytes_touch_nothing() {
    let directory = Directory::in_memory();
    let keeper = watch("[watch]\nrefresh = \"1s\"\n[secrets.db]\nfrom = \"mock:db\"\n", &directory);
    let look = || {
        let names =
            ["db", "..data"].map(|name| fs::symlink_metadata(directory.path().join(name)).expect("it is there"));
        let top = fs::metadata(directory.path()).expect("it is there");
        (names.map(|status| (status.ino(), status.mtime_nsec(), status.ctime_nsec())), top.mtime_nsec())
    };
    let before = look();
    let read = |keeper: &Running| {
        std::thread::sleep(Duration::from_millis(2500));
        keeper.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(500));
    };
    read(&keeper);
    assert_eq!(look(), before, "neither a read nor HUP touches what has not changed");
    keeper.signal(Signal::SIGINT);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn what_changes_at_about_the_same_time_is_one_generation() {
    let secrets: String = (0..10).map(|at| format!("[secrets.s{at}]\nfrom = \"file:/dev/shm/@/s{at}\"\n")).collect();
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let name = source.path().file_name().expect("a name").to_string_lossy().into_owned();
    (0..10).for_each(|at| drop(source.write(&format!("s{at}"), "old")));
    let config = format!("[watch]\nrefresh = \"1s\"\nquiet = \"2s\"\n{}", secrets.replace('@', &name));
    let keeper = watch(&config, &directory);
    (0..10).for_each(|at| drop(source.write(&format!("s{at}"), "new")));
    changed(&directory, "s0", "old", Duration::from_secs(10));
    // One swap shows them all.
    (0..10).for_each(|at| assert_eq!(content(&directory, &format!("s{at}")), "new", "s{at}"));
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!((outcome.code, outcome.stderr.matches("info: changed: ").count()), (0, 1), "{outcome:?}");
}

#[test]
fn hup_reads_everything_now() {
    let directory = Directory::in_memory();
    let config = "[watch]\nrefresh = \"300d\"\nquiet = \"0s\"\n[providers.mock]\nrotate_every = \"1s\"\n[secrets.db]\nfrom = \"mock:db\"\n";
    let keeper = watch(config, &directory);
    let before = content(&directory, "db");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(content(&directory, "db"), before);
    keeper.signal(Signal::SIGHUP);
    assert!(changed(&directory, "db", &before, Duration::from_secs(10)).starts_with("mock-db-"));
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    outcome.says("info: SIGHUP: every secret is read again");
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn hup_reads_everything_also_under_nohup() {
    let config = "[watch]\nrefresh = \"300d\"\nquiet = \"0s\"\n[providers.mock]\nrotate_every = \"1s\"\n[secrets.db]\nfrom = \"mock:db\"\n";
    for state in ["--ignore", "--block"] {
        let directory = Directory::in_memory();
        let keeper = unready(config, &directory).confine(&[state, "HUP"]).spawn();
        ready(&directory, Duration::from_secs(10));
        let before = content(&directory, "db");
        std::thread::sleep(Duration::from_millis(1500));
        keeper.signal(Signal::SIGHUP);
        changed(&directory, "db", &before, Duration::from_secs(10));
        keeper.signal(Signal::SIGTERM);
        assert_eq!(keeper.finish().code, 0, "{state}");
    }
}

#[test]
fn an_optional_secret_goes_after_two_reads_without_it_and_comes_back() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let file = source.write("db", "here");
    let config = format!(
        "[watch]\nrefresh = \"300d\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}\"\noptional = true\n[secrets.a]\nfrom = \"mock:a\"\n",
        file.display()
    );
    let keeper = watch(&config, &directory);
    let is_there = || directory.path().join("db").symlink_metadata().is_ok();
    let becomes = |expected: bool| {
        let start = Instant::now();
        while is_there() != expected {
            assert!(start.elapsed() < Duration::from_secs(15), "still {}", is_there());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    fs::remove_file(&file).expect("it is ours");
    std::thread::sleep(Duration::from_millis(500));
    assert!(is_there(), "one read without it, which its removal has caused, is not enough");
    keeper.signal(Signal::SIGHUP);
    becomes(false);
    ready(&directory, Duration::from_secs(10));
    source.write("db", "here again");
    becomes(true);
    assert_eq!((content(&directory, "db"), content(&directory, "a")), ("here again".into(), "mock-a".into()));
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    outcome.says("info: the optional secret `db` is gone: `file:");
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn a_change_that_asks_for_a_restart_ends_with_79_after_the_swap() {
    let directory = Directory::in_memory();
    let config = CHANGING.replace("[watch]\n", "[watch]\nsplay = \"0s\"\n") + "on_change = \"none\"\n";
    let config = config.replace("from = \"fast:db\"\n", "from = \"fast:db\"\non_change = \"restart\"\n");
    let outcome = unready(&config, &directory).start();
    outcome.refused(79, "`db` has changed, and asks for a restart (changed, exit 79)");
    assert_ne!(content(&directory, "db"), "mock-db-0", "the new value is there for the app's next start");
}

/// The replicas of an app do not restart together.
#[test]
fn such_an_end_waits_a_part_of_splay() {
    let config = CHANGING.replace("[watch]\n", "[watch]\nsplay = \"300d\"\n");
    let config = config.replace("from = \"fast:db\"\n", "from = \"fast:db\"\non_change = \"restart\"\n");
    let directory = Directory::in_memory();
    let keeper = watch(&config, &directory);
    for _ in 0..2 {
        let before = content(&directory, "db");
        changed(&directory, "db", &before, Duration::from_secs(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    ready(&directory, Duration::ZERO);
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn the_end_of_the_worker_is_the_end_of_the_keeper() {
    let directory = Directory::in_memory();
    let mut keeper = watch(CHANGING, &directory);
    let worker = nix::unistd::Pid::from_raw(keeper.worker());
    nix::sys::signal::kill(worker, Signal::SIGKILL).expect("it is there");
    keeper.finish().refused(70, "the worker was killed by SIGKILL");
    assert!(content(&directory, "db").starts_with("mock-db-"), "the files stay");
}

#[test]
fn a_signal_ends_it_at_once_whatever_its_worker_does() {
    let directory = Directory::in_memory();
    let config = "[providers.mock]\nlatency = \"1s\"\n[watch]\nrefresh = \"1s\"\n[secrets.db]\nfrom = \"mock:db\"\n";
    let mut keeper = watch(config, &directory);
    let worker = nix::unistd::Pid::from_raw(keeper.worker());
    nix::sys::signal::kill(worker, Signal::SIGSTOP).expect("it is there");
    let start = Instant::now();
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert!(outcome.code == 0 && start.elapsed() < Duration::from_millis(2500), "{outcome:?}");
    outcome.says("warn: the worker did not let go of its stores in time: ");
    let keeper = watch(config, &directory);
    keeper.signal(Signal::SIGQUIT);
    keeper.finish().refused(131, "ended by SIGQUIT (signal, exit 131)");
}

#[test]
fn a_change_without_room_leaves_the_set_whole_and_is_tried_again() {
    needs_root!();
    let (source, directory) = (Directory::in_memory(), Directory::tmpfs("mode=1777,size=32k"));
    let file = source.write("db", vec![b'a'; 16 << 10]);
    let config =
        format!("[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}\"\n", file.display());
    let keeper = watch(&config, &directory);
    source.write("db", vec![b'b'; 16 << 10]);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(content(&directory, "db"), "a".repeat(16 << 10));
    ready(&directory, Duration::ZERO);
    source.write("db", "c");
    assert_eq!(changed(&directory, "db", &"a".repeat(16 << 10), Duration::from_secs(10)), "c");
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    outcome.says(" KiB left, and the secrets take 16 KiB: a change needs room for both sets, so make it larger");
    outcome.says("warn: a change was not delivered, the files stay as they were: cannot write `db` in `");
    outcome.says("info: changes can be delivered again, after ").never_says("error:");
    let told = outcome.stderr.matches("warn: a change was not delivered, ").count();
    assert!(outcome.code == 0 && told <= 4, "{told} in some seconds: {outcome:?}");
}

#[test]
fn a_secret_whose_change_has_no_room_becomes_stale_and_fresh_again() {
    needs_root!();
    let (source, directory) = (Directory::new(), Directory::tmpfs("mode=1777,size=64k"));
    let file = source.write("db", "a");
    let config = format!(
        "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\nmax_stale = \"3s\"\n[secrets.db]\nfrom = \"file:{}\"\n",
        file.display()
    );
    let keeper = watch(&config, &directory);
    source.write("db", vec![b'b'; 128 << 10]);
    let start = Instant::now();
    while Run::command("ready").args(["--dir", directory.text()]).start().code == 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "it is never stale");
        std::thread::sleep(Duration::from_millis(50));
    }
    source.write("db", "c");
    assert_eq!(changed(&directory, "db", "a", Duration::from_secs(20)), "c");
    ready(&directory, Duration::from_secs(10));
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says("error: `db` is stale: it could not be read again, or delivered, for too long");
}

#[test]
fn a_log_that_nobody_reads_keeps_no_file_stale() {
    needs_root!();
    let (directory, source) = (Directory::in_memory(), Directory::new());
    let config = format!(
        "[app]\nuser = \"1000:1000\"\n[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}/db\"\n",
        source.text()
    );
    let path = source.write("handfast.toml", config);
    source.write("db", "0");
    let (_reader, writer) = std::io::pipe().expect("there are pipes");
    fill(&writer, &mut &writer);
    let mut command = Command::new(program("handfast"));
    command.args(["watch", "--log-level", "info", "--dir", directory.text(), "--config"]).arg(path);
    let mut keeper = command.env_clear().stderr(writer).spawn().expect("it can be started");
    ready(&directory, Duration::from_secs(10));
    for change in 1..=3 {
        let before = content(&directory, "db");
        source.write("db", change.to_string());
        assert_eq!(changed(&directory, "db", &before, Duration::from_secs(10)), change.to_string());
    }
    jobs::send(keeper.id().cast_signed(), 15).expect("it is there");
    assert_eq!(keeper.wait().expect("it is ours").code(), Some(0));
}

#[test]
fn earlier_sets_go_before_their_time_where_a_change_needs_their_room() {
    needs_root!();
    let (directory, source) = (Directory::tmpfs("mode=755,size=700k"), Directory::new());
    let value = |change: u8| vec![b'0' + change; 200_000];
    std::fs::write(source.path().join("db"), value(0)).expect("it is ours");
    let config = format!(
        "[app]\nuser = \"1000:1000\"\n[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}/db\"\n",
        source.text()
    );
    let keeper = watch(&config, &directory);
    for change in 1..=6 {
        let before = content(&directory, "db");
        std::fs::write(source.path().join("new"), value(change)).expect("it is ours");
        std::fs::rename(source.path().join("new"), source.path().join("db")).expect("it is ours");
        assert!(changed(&directory, "db", &before, Duration::from_secs(10)).into_bytes() == value(change));
    }
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.never_says("error:");
}

/// Its two sets are there, and the start needs room for another.
#[test]
fn a_start_after_a_killed_keeper_needs_no_more_room_than_a_change() {
    needs_root!();
    let (directory, source) = (Directory::tmpfs("mode=755,size=700k"), Directory::new());
    let value = |change: u8| vec![b'0' + change; 300_000];
    let file = source.write("db", value(0));
    let config =
        format!("[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}\"\n", file.display());
    let keeper = watch(&config, &directory);
    let before = content(&directory, "db");
    std::fs::write(source.path().join("new"), value(1)).expect("it is ours");
    std::fs::rename(source.path().join("new"), &file).expect("it is ours");
    assert!(changed(&directory, "db", &before, Duration::from_secs(10)).into_bytes() == value(1));
    keeper.signal(Signal::SIGKILL);
    keeper.finish();
    let outcome = unready(&config, &directory).with_command("init").start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn a_signal_before_the_first_set_ends_the_start() {
    for (signal, text) in [
        (Signal::SIGTERM, "ended by SIGTERM before the start was complete (signal, exit 143)"),
        (Signal::SIGHUP, "ended by SIGHUP before the start was complete (signal, exit 129)"),
    ] {
        let directory = Directory::in_memory();
        let config = "[providers.mock]\nlatency = \"1h\"\n[secrets.db]\nfrom = \"mock:db\"\n";
        let mut keeper = unready(config, &directory).spawn();
        keeper.worker();
        keeper.signal(signal);
        keeper.finish().refused(128 + signal as i32, text);
    }
}
