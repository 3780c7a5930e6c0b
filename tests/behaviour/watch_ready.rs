//! `ready`: who asks learns whether a keeper lives and what it keeps is fresh, by reading alone.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use crate::supervised::{Supervised, comm, until};
use crate::support::{Directory, Outcome, Run, needs_root};
use crate::watch::{content, ready, unready, watch};
use handfast::sys::jobs;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use serde_json::Value;

const STILL: &str = "[secrets.db]\nfrom = \"mock:db\"\n";

fn ask(directory: &Directory) -> Outcome {
    Run::command("ready").args(["--dir", directory.text()]).start()
}

#[test]
fn whoever_asks_learns_at_once_that_a_keeper_was_killed() {
    let directory = Directory::in_memory();
    ask(&directory).refused(69, "is not ready: no keeper was here (unavailable, exit 69)");
    let keeper = watch(STILL, &directory);
    let alive = directory.path().join("..handfast/alive");
    let status = fs::metadata(&alive).expect("it is there");
    assert_eq!(status.permissions().mode() & 0o7777, 0o644);
    keeper.signal(Signal::SIGKILL);
    keeper.finish();
    ask(&directory).refused(69, "is not ready: its keeper is gone (unavailable, exit 69)");
    assert_eq!(content(&directory, "db"), "mock-db", "the files stay");
    let keeper = watch(STILL, &directory);
    assert_ne!(fs::metadata(&alive).expect("it is there").ino(), status.ino(), "a keeper has a file of its own");
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
    ask(&directory).refused(69, "its keeper is gone");
}

/// The app runs on with what it has, which nobody keeps fresh.
#[test]
fn whoever_asks_learns_at_once_that_a_supervisor_was_killed() {
    let (notes, directory) = (Directory::new(), Directory::in_memory());
    let config = format!("[watch]\nrefresh = \"1s\"\n{STILL}file = \"db\"\n");
    let run = Run::new().config(&config).args(["--supervise", "--dir", directory.text()]);
    // It keeps no pipe of the test's open.
    let app = format!("exec sleep 1000 >{0}/out 2>&1", notes.text());
    fs::set_permissions(notes.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let supervised = Supervised::start(run.app(["/bin/sh", "-c", &app]), "sleep");
    let app = supervised.app;
    ready(&directory, Duration::from_secs(10));
    supervised.signal(9);
    let outcome = supervised.finish();
    ask(&directory).refused(69, "is not ready: its keeper is gone (unavailable, exit 69)");
    assert_eq!((outcome.code, comm(app).as_str()), (137, "sleep"), "{outcome:?}");
    jobs::send(app, 9).expect("it lives");
}

/// Everybody can read the file, and so take a lock for reading.
#[test]
fn a_readers_lock_is_no_keepers_and_keeps_none_away() {
    let directory = Directory::in_memory();
    let keeper = watch(STILL, &directory);
    keeper.signal(Signal::SIGKILL);
    keeper.finish();
    let file = File::open(directory.path().join("..handfast/alive")).expect("everybody may");
    let lock =
        libc::flock { l_type: libc::F_RDLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)).expect("nobody has it");
    ask(&directory).refused(69, "its keeper is gone");
    let keeper = watch(STILL, &directory);
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn a_second_keeper_waits_for_the_first_until_its_deadline() {
    let directory = Directory::in_memory();
    let keeper = watch(STILL, &directory);
    let start = Instant::now();
    let second = unready(STILL, &directory).args(["--deadline", "1s"]).start();
    second.refused(73, "another start writes there, and did not end in time");
    assert!(start.elapsed() >= Duration::from_millis(900), "{second:?}");
    ready(&directory, Duration::ZERO);
    let third = unready(STILL, &directory).spawn();
    std::thread::sleep(Duration::from_millis(500));
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
    ready(&directory, Duration::from_secs(5));
    third.signal(Signal::SIGTERM);
    assert_eq!(third.finish().code, 0);
}

/// An app that watches its files for changes is not woken by what the keeper only says of itself.
#[test]
fn a_status_that_changes_wakes_nobody_who_watches_the_files() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let file = source.write("db", "first");
    let config =
        format!("[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}\"\n", file.display());
    let keeper = watch(&config, &directory);
    let watcher = Inotify::init(InitFlags::IN_NONBLOCK).expect("there is inotify");
    let opened = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_CLOSE_NOWRITE;
    watcher.add_watch(directory.path(), AddWatchFlags::IN_ALL_EVENTS - opened).expect("it is there");
    let status = || content(&directory, "..handfast/status.json");
    let mut before = status();
    for _ in 0..3 {
        before = until("the status changes", || Some(status()).filter(|status| *status != before));
    }
    let seen = watcher.read_events();
    assert_eq!(seen.as_ref().err(), Some(&Errno::EAGAIN), "{seen:?}");
    source.write("db", "second");
    until("the change of a value is seen", || watcher.read_events().ok());
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn a_missing_file_is_named() {
    let directory = Directory::in_memory();
    let keeper = watch(STILL, &directory);
    fs::remove_file(directory.path().join("db")).expect("it is ours");
    ask(&directory).refused(69, "is not ready: the file `db` of `db` is missing (unavailable, exit 69)");
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn a_secret_that_can_no_longer_be_read_becomes_stale_and_fresh_again() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let file = source.write("db", "canary-7f3a");
    let config = format!(
        "[watch]\nrefresh = \"1s\"\nmax_stale = \"1s\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}\"\n",
        file.display()
    );
    let keeper = watch(&config, &directory);
    fs::remove_file(&file).expect("it is ours");
    let start = Instant::now();
    while ask(&directory).code == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not become stale");
        std::thread::sleep(Duration::from_millis(50));
    }
    ask(&directory).refused(69, "is not ready: `db` is stale (unavailable, exit 69)");
    assert_eq!(content(&directory, "db"), "canary-7f3a", "the last value stays");
    std::thread::sleep(Duration::from_millis(1500));
    source.write("db", "canary-7f3b");
    ready(&directory, Duration::from_secs(5));
    let status = fs::read_to_string(directory.path().join("..handfast/status.json")).expect("everybody may");
    assert!(!status.contains("canary") && status.contains("\"stale\":false"), "{status}");
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // Once, although it was tried several times.
    let told = outcome.stderr.matches("error: cannot read `db` again from `file:").count();
    assert_eq!(told, 1, "{outcome:?}");
    outcome.says("`, the last value stays: cannot read `");
    outcome
        .says("error: `db` is stale: it could not be read again, or delivered, for too long")
        .says("info: `db` can be read again, after ");
    outcome.never_says("canary");
}

/// A keeper that is stopped, or whose directory is full, cannot write into its status that a secret has become stale.
#[test]
fn a_keeper_that_cannot_tell_is_stale_once_its_time_is_over() {
    let directory = Directory::in_memory();
    let config = format!("[watch]\nrefresh = \"1s\"\nmax_stale = \"1s\"\n{STILL}");
    let keeper = watch(&config, &directory);
    let start = Instant::now();
    // Its worker has said when the secret is read next.
    while content(&directory, "..handfast/status.json").contains("\"stale_at_boot\":null") {
        assert!(start.elapsed() < Duration::from_secs(15), "nobody is told when it becomes stale");
        std::thread::sleep(Duration::from_millis(20));
    }
    keeper.signal(Signal::SIGSTOP);
    let start = Instant::now();
    while ask(&directory).code == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not become stale");
        std::thread::sleep(Duration::from_millis(50));
    }
    ask(&directory).refused(69, "is not ready: `db` is stale (unavailable, exit 69)");
    keeper.signal(Signal::SIGCONT);
    ready(&directory, Duration::from_secs(5));
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn a_stale_secret_can_end_the_keeper() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let file = source.write("db", "x");
    let config = format!(
        "[watch]\nrefresh = \"1s\"\nmax_stale = \"100ms\"\non_stale = \"exit\"\n[secrets.db]\nfrom = \"file:{}\"\n",
        file.display()
    );
    let keeper = watch(&config, &directory);
    fs::remove_file(&file).expect("it is ours");
    keeper.finish().refused(69, "`db` is stale, and `on_stale` is \"exit\" (unavailable, exit 69)");
}

#[test]
fn another_user_asks_through_a_mount_that_nobody_can_write() {
    needs_root!();
    let directory = Directory::in_memory();
    let keeper = watch(STILL, &directory);
    let seen = Directory::new();
    let script = format!("mount --bind {d} {s} && mount -o remount,bind,ro {s}", d = directory.text(), s = seen.text());
    let ask = || {
        let run = Run::command("ready").args(["--dir", seen.text()]);
        run.confine(&["--mountns", "--setup", &script, "--uid", "65534", "--gid", "65534"]).start()
    };
    let outcome = ask();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    keeper.signal(Signal::SIGKILL);
    keeper.finish();
    ask().refused(69, "its keeper is gone");
}

/// In a directory that all can write, all can make what looks like a keeper's.
#[test]
fn what_somebody_else_has_made_there_is_no_keepers() {
    needs_root!();
    let directory = Directory::tmpfs("mode=1777");
    let private = directory.path().join("..handfast");
    directory.shell(
        Some(4242),
        "mkdir -m 1755 ..handfast; cd ..handfast; echo '{\"secrets\":[]}' >status.json; echo >alive",
    );
    let alive = File::options().write(true).open(private.join("alive")).expect("root may");
    let lock =
        libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(alive.as_fd(), FcntlArg::F_OFD_SETLK(&lock)).expect("nobody has it");
    let refused =
        "is not ready: its `..handfast` is uid 4242's: neither root's, the directory's owner's nor the asker's";
    ask(&directory).refused(69, refused);
    let as_user = |uid: &str, directory: &Directory| {
        let run = Run::command("ready").args(["--dir", directory.text()]);
        run.confine(&["--uid", uid, "--gid", uid]).start()
    };
    as_user("65534", &directory).refused(69, refused);
    // Whoever has made it only deceives themselves. Nor has anybody made it who can only read.
    assert_eq!(as_user("4242", &directory).code, 0);
    let script = format!("mount -o remount,bind,ro {}", directory.text());
    let run = Run::command("ready").args(["--dir", directory.text()]);
    let outcome = run.confine(&["--mountns", "--setup", &script, "--uid", "65534", "--gid", "65534"]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // Nor is a directory a keeper's that others can write.
    fs::set_permissions(&private, fs::Permissions::from_mode(0o1777)).expect("root may");
    as_user("4242", &directory).refused(69, "is not ready: others than a keeper can write its `..handfast`");
    // With a keeper of root's there, nobody can put anything in its place.
    fs::remove_dir_all(&private).expect("root may");
    let keeper = watch(STILL, &directory);
    directory.shell(Some(4242), "! mv ..handfast away && ! mkdir ..handfast");
    assert_eq!(as_user("65534", &directory).code, 0);
    keeper.signal(Signal::SIGKILL);
    keeper.finish();
    as_user("65534", &directory).refused(69, "its keeper is gone");
}

#[test]
fn waiting_ends_when_a_keeper_lives_or_the_time_is_over() {
    let directory = Directory::in_memory();
    let start = Instant::now();
    let outcome = Run::command("ready").args(["--dir", directory.text(), "--wait", "300ms"]).start();
    outcome.refused(69, "no keeper was here");
    assert!(start.elapsed() >= Duration::from_millis(300), "{outcome:?}");
    let waiting = Run::command("ready").args(["--dir", directory.text(), "--wait", "10s"]).spawn();
    let keeper = unready(STILL, &directory).spawn();
    assert_eq!(waiting.finish().code, 0);
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

#[test]
fn what_no_keeper_has_left_there_is_no_keepers() {
    let directory = Directory::in_memory();
    let keeper = watch(STILL, &directory);
    let of_keeper = |name: &str| directory.path().join("..handfast").join(name);
    fs::write(of_keeper("status.json"), "{\"secrets\":3}").expect("it is ours");
    ask(&directory).refused(69, "`status.json` of its keeper is not what a keeper writes");
    fs::remove_file(of_keeper("status.json")).expect("it is ours");
    ask(&directory).refused(69, "cannot read `status.json` of its keeper: no such file");
    fs::remove_file(of_keeper("alive")).expect("it is ours");
    std::os::unix::fs::symlink("lock", of_keeper("alive")).expect("it is ours");
    ask(&directory).refused(69, "cannot open `alive` of its keeper: ");
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.finish().code, 0);
}

/// The clock of the day may be set at any time; the one since the machine's start never is.
#[test]
fn a_clock_that_is_set_makes_the_set_of_the_keeper_before_neither_stale_nor_fresh() {
    let directory = Directory::in_memory();
    let config = |provider: &str| {
        format!(
            "[watch]\nrefresh = \"1s\"\nmax_stale = \"1h\"\n[providers.mock]\n{provider}\n[secrets.db]\nfrom = \"mock:db\"\n"
        )
    };
    let path = directory.path().join("..handfast/status.json");
    let status = || -> Value { serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("it is JSON") };
    let keeper = watch(&config(""), &directory);
    let start = Instant::now();
    while status()["secrets"][0]["stale_at_boot"].is_null() {
        assert!(start.elapsed() < Duration::from_secs(15), "nobody is told when it becomes stale");
        std::thread::sleep(Duration::from_millis(20));
    }
    keeper.signal(Signal::SIGKILL);
    keeper.finish();
    let set = |key: &str, time: u64| {
        let mut status = status();
        status["secrets"][0][key] = time.into();
        fs::write(&path, status.to_string()).expect("it is ours");
    };
    let failing = || unready(&config("fail = \"unavailable\""), &directory).args(["--deadline", "500ms"]);
    set("stale_at", 1);
    let keeper = failing().spawn();
    ready(&directory, Duration::from_secs(10));
    keeper.signal(Signal::SIGKILL);
    keeper.finish();
    set("stale_at", u64::from(u32::MAX));
    set("stale_at_boot", 1);
    failing().start().refused(69, "(unavailable, exit 69)");
}
