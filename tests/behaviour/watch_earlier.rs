//! `watch` after an earlier keeper: its set stays if a store does not answer. A sidecar that starts again in an outage must not take its app
//! out of service.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handfast::sys::clock::boot_time;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::watch::{content, ready, unready, watch};
use crate::support::Directory;

const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration with the secrets `db`, and `extra` if the store has it; and more of each table.
fn config(watch: &str, mock: &str, secret: &str) -> String {
    format!(
        "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n{watch}\n[providers.mock]\n{mock}\n\
         [secrets.db]\nfrom = \"mock:db\"\n{secret}\n[secrets.extra]\nfrom = \"mock:extra\"\noptional = true\n"
    )
}

/// The files of a keeper that was killed.
fn killed(config: &str) -> Directory {
    let directory = Directory::in_memory();
    let keeper = watch(config, &directory);
    keeper.signal(Signal::SIGKILL);
    keeper.finish();
    directory
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// When the secret that was read longest ago was read, in seconds since 1970.
fn last_success(directory: &Directory) -> u64 {
    let status = content(directory, "..handfast/status.json");
    let times = status.split("\"last_success\":").skip(1);
    times.filter_map(|rest| rest.split(',').next()?.parse().ok()).min().expect("there are secrets")
}

fn identity(directory: &Directory, name: &str) -> (u64, SystemTime) {
    let status = fs::metadata(directory.path().join(name)).expect("it is there");
    (status.ino(), status.modified().expect("this system has times"))
}

/// Long before the deadline: until the set stays, the app is out of service.
#[test]
fn a_start_that_gets_no_answer_keeps_the_set_at_once() {
    for failing in ["fail_first = 1000", "latency = \"1h\""] {
        let directory = killed(&config("max_stale = \"1h\"", "", ""));
        let before = identity(&directory, "db");
        let keeper = unready(&config("max_stale = \"1h\"", failing, ""), &directory).args(["--deadline", "1h"]).spawn();
        ready(&directory, PATIENCE);
        assert_eq!((identity(&directory, "db"), content(&directory, "db")), (before, "mock-db".into()));
        keeper.signal(Signal::SIGTERM);
        let outcome = keeper.finish();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.says(": the files of the keeper before stay, and are read again");
    }
}

#[test]
fn nothing_is_kept_of_other_secrets_after_a_denial_or_of_a_keeper_that_is_not_the_last() {
    let directory = killed(&config("", "", ""));
    let other = config("", "fail = \"unavailable\"", "").replace("secrets.db", "secrets.other");
    unready(&other, &directory).args(["--deadline", "300ms"]).start().refused(69, "(unavailable, exit 69)");
    let renamed = config("", "fail = \"unavailable\"", "file = \"password\"");
    unready(&renamed, &directory).args(["--deadline", "300ms"]).start().refused(69, "(unavailable, exit 69)");
    let denied = config("", "fail = \"denied\"", "");
    unready(&denied, &directory).start().refused(77, "(denied, exit 77)");
}

/// The files would get another mode now.
#[test]
fn a_start_whose_earlier_set_cannot_stay_tries_again() {
    let directory = killed(&config("", "", ""));
    let keeper = unready(&config("", "fail_first = 3", "mode = \"0444\""), &directory).spawn();
    ready(&directory, PATIENCE);
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.never_says("the files of the keeper before stay");
}

/// It goes on as after a failed refresh: the same value is no change.
#[test]
fn an_equal_value_after_the_outage_touches_no_file_and_restarts_nothing() {
    let restart = "on_change = \"restart\"";
    let config = |mock: &str| config("splay = \"0s\"", mock, restart);
    let directory = killed(&config(""));
    let before = ["db", "extra"].map(|name| identity(&directory, name));
    let keeper = unready(&config("fail_first = 2"), &directory).spawn();
    ready(&directory, PATIENCE);
    // Two reads after the outage.
    let later = UNIX_EPOCH.elapsed().expect("it is past").as_secs() + 4;
    until("both are read again", || last_success(&directory) >= later);
    assert_eq!(["db", "extra"].map(|name| identity(&directory, name)), before);
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.never_says("changed: ");
}

#[test]
fn a_value_that_has_changed_in_the_outage_is_a_change() {
    let values = |db: &str| format!("fail_first = 1\nvalues = {{ db = \"{db}\", extra = \"same\" }}");
    let directory = killed(&config("", &values("old"), ""));
    let before = identity(&directory, "extra");
    let keeper = unready(&config("splay = \"0s\"", &values("new"), "on_change = \"restart\""), &directory).spawn();
    let outcome = keeper.finish();
    outcome.says("info: changed: db\n").says("`db` has changed, and asks for a restart");
    assert_eq!((outcome.code, content(&directory, "db")), (79, "new".into()), "{outcome:?}");
    assert_eq!(identity(&directory, "extra"), before);
}

/// Its value is the same for the next start, which keeps the set again.
#[test]
fn a_changed_value_of_a_store_that_answers_restarts_the_app_in_the_outage_of_another() {
    let source = Directory::in_memory();
    let file = source.write("db", "old");
    let config = |mock: &str| {
        let config = config("splay = \"0s\"", mock, "on_change = \"restart\"");
        config.replace("mock:db", &format!("file:{}", file.display()))
    };
    let directory = killed(&config(""));
    source.write("db", "new");
    let failing = || unready(&config("fail = \"unavailable\""), &directory);
    failing().start().refused(79, "`db` has changed, and asks for a restart");
    assert_eq!(content(&directory, "db"), "new");
    let keeper = failing().spawn();
    ready(&directory, PATIENCE);
    std::thread::sleep(Duration::from_millis(1500));
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// Else a sidecar that is started again and again in an outage would never be stale.
#[test]
fn a_start_puts_off_no_time_at_which_a_secret_is_stale() {
    let config = |mock: &str| config("max_stale = \"1h\"", mock, "");
    let directory = killed(&config(""));
    let path = directory.path().join("..handfast/status.json");
    let status = || -> Value { serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("it is JSON") };
    let (mut before, stale_at) = (status(), boot_time().as_secs() + 600);
    (0..2).for_each(|secret| before["secrets"][secret]["stale_at_boot"] = stale_at.into());
    fs::write(&path, before.to_string()).expect("it is ours");
    for _ in 0..2 {
        let keeper = unready(&config("fail = \"unavailable\""), &directory).spawn();
        ready(&directory, PATIENCE);
        until("it has failed again", || status()["secrets"][0]["next"].as_u64().is_some());
        for secret in 0..2 {
            assert_eq!(status()["secrets"][secret]["stale_at_boot"].as_u64(), Some(stale_at));
        }
        keeper.signal(Signal::SIGKILL);
        keeper.finish();
    }
}

#[test]
fn an_optional_secret_that_has_vanished_in_the_outage_goes() {
    let directory = killed(&config("", "", ""));
    assert_eq!(content(&directory, "extra"), "mock-extra");
    let keeper = unready(&config("", "fail_first = 1\nvalues = { db = \"mock-db\" }", ""), &directory).spawn();
    ready(&directory, PATIENCE);
    until("it goes", || !directory.path().join("extra").exists());
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// The earlier keeper's set is gone then, whatever it has told of that.
#[test]
fn a_set_that_another_start_has_replaced_is_not_the_earlier_keepers() {
    let config = |provider: &str, from: &str| {
        format!("[watch]\nquiet = \"0s\"\n[providers.mock]\n{provider}\n[secrets.db]\nfrom = \"mock:{from}\"\n")
    };
    for command in ["init", "run"] {
        let directory = Directory::in_memory();
        let keeper = watch(&config("", "db"), &directory);
        keeper.signal(Signal::SIGKILL);
        keeper.finish();
        let other = unready(&config("", "other"), &directory).with_command(command);
        let outcome = if command == "run" { other.app(["/bin/true"]) } else { other }.start();
        assert_eq!((outcome.code, content(&directory, "db")), (0, "mock-other".into()), "{outcome:?}");
        let failing = config("fail = \"unavailable\"", "db");
        let outcome = unready(&failing, &directory).args(["--deadline", "300ms"]).start();
        outcome.refused(69, "(unavailable, exit 69)");
    }
}

#[test]
fn a_set_that_lacks_a_file_is_not_kept() {
    for missing in ["db", "extra"] {
        let directory = killed(&config("", "", ""));
        fs::remove_file(directory.path().join(missing)).expect("it is ours");
        let failing = unready(&config("", "fail = \"unavailable\"", ""), &directory);
        failing.args(["--deadline", "300ms"]).start().refused(69, "(unavailable, exit 69)");
    }
}

/// What is not a field's file now would stay for ever, and the app would not find those that it looks for.
#[test]
fn files_of_fields_are_kept_only_if_they_have_the_names_that_they_would_get_now() {
    for (object, has_b) in [(r#"{"a":"1","b":"2"}"#, true), ("{}", false)] {
        let (source, directory) = (Directory::in_memory(), Directory::in_memory());
        let file = source.write("db", r#"{"a":"1"}"#);
        let config = |provider: &str, files: &str| {
            format!(
                "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[providers.kv]\n{provider}\n\
                 [secrets.db]\nfrom = \"kv:{}#*\"\nfile = \"{files}\"\n",
                file.display()
            )
        };
        let keeper = watch(&config("type = \"file\"", "db-*"), &directory);
        source.write("db", object);
        let is_told = |name: &str| content(&directory, "..handfast/status.json").contains(name);
        until("it has these fields", || is_told("\"db-b\"") == has_b && is_told("\"db-a\"") == has_b);
        keeper.signal(Signal::SIGKILL);
        keeper.finish();
        let failing = "type = \"mock\"\nfail = \"unavailable\"";
        if has_b {
            let other = unready(&config(failing, "other-*"), &directory).args(["--deadline", "300ms"]);
            other.start().refused(69, "(unavailable, exit 69)");
        }
        let keeper = unready(&config(failing, "db-*"), &directory).args(["--deadline", "10s"]).spawn();
        ready(&directory, PATIENCE);
        assert_eq!(directory.path().join("db-b").exists(), has_b);
        keeper.signal(Signal::SIGTERM);
        keeper.finish().says(": the files of the keeper before stay, and are read again");
    }
}

#[test]
fn a_second_keeper_waits_for_the_first_in_an_outage_too() {
    let directory = Directory::in_memory();
    let first = watch(&config("", "", ""), &directory);
    let second =
        |deadline: &str| unready(&config("", "fail = \"unavailable\"", ""), &directory).args(["--deadline", deadline]);
    second("1s").start().refused(73, "another start writes there, and did not end in time");
    let third = second("1h").spawn();
    std::thread::sleep(Duration::from_millis(500));
    third.signal(Signal::SIGTERM);
    third.finish().refused(143, "ended by SIGTERM before the start was complete");
    ready(&directory, Duration::ZERO);
    let fourth = second("1h").spawn();
    std::thread::sleep(Duration::from_millis(500));
    first.signal(Signal::SIGKILL);
    first.finish();
    ready(&directory, PATIENCE);
    fourth.signal(Signal::SIGTERM);
    let outcome = fourth.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says(": the files of the keeper before stay, and are read again");
}
