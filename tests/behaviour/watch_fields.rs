//! `watch` of objects whose fields come and go: each is a file.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::{Directory, Running};
use crate::watch::{changed, content, ready, watch};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(15);

/// A keeper of all fields of an object, and the directory of that.
fn keeper(object: &str, directory: &Directory) -> (Running, Directory) {
    let source = Directory::in_memory();
    let file = source.write("db", object);
    let config = format!(
        "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}#*\"\nfile = \"db-*\"\n",
        file.display()
    );
    (watch(&config, directory), source)
}

/// Waits until the object was read three times more: what the first of them has found was tried by then.
fn read_again(directory: &Directory) {
    let next = || {
        let status = std::fs::read(directory.path().join("..handfast/status.json")).expect("it is there");
        serde_json::from_slice::<serde_json::Value>(&status).expect("it is JSON")["secrets"][0]["next"].as_u64()
    };
    let mut times = BTreeSet::from([next()]);
    let start = Instant::now();
    while times.len() < 4 {
        assert!(start.elapsed() < PATIENCE, "it is not read again");
        std::thread::sleep(Duration::from_millis(20));
        times.insert(next());
    }
}

#[test]
fn an_object_that_loses_all_its_fields_loses_its_files_and_ends_no_keeper() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let file = source.write("db", r#"{"a":"1","b":"2"}"#);
    let config =
        format!("[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}#*\"\n", file.display());
    let keeper = watch(&config, &directory);
    assert_eq!(content(&directory, "a"), "1");
    let becomes = |name: &str, is_there: bool| {
        let start = Instant::now();
        while directory.path().join(name).exists() != is_there {
            assert!(start.elapsed() < Duration::from_secs(10), "{name}");
            std::thread::sleep(Duration::from_millis(20));
        }
        ready(&directory, Duration::from_secs(5));
    };
    source.write("db", "{}");
    becomes("a", false);
    source.write("db", r#"{"c":"3"}"#);
    becomes("c", true);
    keeper.signal(Signal::SIGTERM);
    keeper.finish().says("info: changed: db\n");
}

#[test]
fn a_field_without_a_name_stays_while_others_change() {
    let directory = Directory::in_memory();
    let (keeper, source) = keeper(r#"{"":"nameless","a":"1"}"#, &directory);
    source.write("db", r#"{"":"nameless","a":"2"}"#);
    assert_eq!(changed(&directory, "db-a", "1", PATIENCE), "2");
    assert_eq!(content(&directory, "db-"), "nameless");
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// What a store holds ends no keeper: the last good set stays.
#[test]
fn an_object_with_more_fields_than_a_set_takes_changes_nothing_until_it_has_fewer() {
    let directory = Directory::in_memory();
    let (keeper, source) = keeper(r#"{"a":"1"}"#, &directory);
    let fields: Vec<String> = (0..5000).map(|number| format!(r#""f{number}":"""#)).collect();
    source.write("db", format!(r#"{{"a":"2",{}}}"#, fields.join(",")));
    read_again(&directory);
    assert_eq!(content(&directory, "db-a"), "1");
    source.write("db", r#"{"a":"3"}"#);
    assert_eq!(changed(&directory, "db-a", "1", PATIENCE), "3");
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.says("error: a change was not delivered, the files stay as they were: cannot fetch `db` from `file:");
    outcome
        .says("#*`: what has changed is 5001 values and 1 bytes, and a set takes at most 4096 values and 64 MiB of it");
}
