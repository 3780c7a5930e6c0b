//! Failures of the fetch: what is tried again, how long, and what is said in the end. Nothing is ever half delivered.

use std::time::Duration;

use crate::support::{Directory, Outcome, Run};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);

/// Each secret of `NAME = REFERENCE` as a file in `directory`, with mock instances of the given keys.
fn start(directory: &Directory, instances: &[(&str, &str)], secrets: &[(&str, &str)], options: &[&str]) -> Outcome {
    let mut toml = String::new();
    for (name, keys) in instances {
        toml += &format!("[providers.{name}]\ntype = \"mock\"\n{keys}\n");
    }
    for (name, reference) in secrets {
        toml += &format!("[secrets.{name}]\nfrom = \"{reference}\"\n");
    }
    Run::new().config(&toml).args(["--dir", directory.text()]).args(options).start()
}

#[track_caller]
fn nothing_delivered(directory: &Directory) {
    assert!(directory.names().is_empty(), "{:?}", directory.names());
}

fn json_lines(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.stderr.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn all_missing_secrets_are_named_at_once_and_none_of_the_others_is_delivered() {
    let directory = Directory::in_memory();
    let names: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    let references: Vec<String> = names.iter().map(|name| format!("some:{name}")).collect();
    let secrets: Vec<_> = names.iter().map(String::as_str).zip(references.iter().map(String::as_str)).collect();
    let values = |present: &[usize]| {
        let values: Vec<String> = present.iter().map(|number| format!("s{number} = \"v\"")).collect();
        format!("values = {{ {} }}", values.join(", "))
    };
    let start = |values: &str| start(&directory, &[("some", values)], &secrets, &[]);
    start(&values(&[0, 1, 2, 3, 4, 5, 6, 7, 9])).refused(66, "cannot fetch `s8` from `some:s8`");
    nothing_delivered(&directory);
    let outcome = start(&values(&[0, 2, 3, 5, 6, 7, 9]));
    outcome.refused(66, "3 of 10 secrets could not be fetched: some:s1, some:s4, some:s8");
    for missing in ["s1", "s4", "s8"] {
        outcome.says(&format!("cannot fetch `{missing}` from `some:{missing}`: no secret `{missing}`"));
    }
    outcome.never_says("some:s2");
    nothing_delivered(&directory);
    start(&values(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])).ran();
    // With `..handfast`, the set and `..data`.
    assert_eq!(directory.names().len(), 13);
}

#[test]
fn of_several_failures_the_exit_code_is_the_first_in_the_contracts_order() {
    let directory = Directory::in_memory();
    // In an order of names that is not the contract's.
    let failures = [
        ("e", "denied", 77),
        ("b", "untrusted", 76),
        ("d", "not-found", 66),
        ("a", "malformed", 65),
        ("c", "unavailable", 69),
    ];
    for first in 0..failures.len() {
        let failing = &failures[first..];
        let keys: Vec<_> = failing.iter().map(|(_, kind, _)| format!("fail = \"{kind}\"")).collect();
        let instances: Vec<_> = failing.iter().zip(&keys).map(|((name, ..), keys)| (*name, keys.as_str())).collect();
        let references: Vec<_> = failing.iter().map(|(name, ..)| format!("{name}:x")).collect();
        let secrets: Vec<_> = failing.iter().zip(&references).map(|((n, ..), r)| (*n, r.as_str())).collect();
        let outcome = start(&directory, &instances, &secrets, &["--deadline", "1s", "--log-format", "json"]);
        let (name, _, code) = failing[0];
        outcome.refused(code, &format!("\"exit\":{code},"));
        let lines = json_lines(&outcome);
        let last = lines.last().expect("there is a last line");
        assert_eq!((&last["provider"], &last["reference"]), (&name.into(), &format!("{name}:x").into()));
        for (name, kind, _) in failing {
            let of = |line: &&Value| line["reference"] == format!("{name}:x") && line["class"] == *kind;
            assert!(lines.iter().any(|line| of(&line)), "no line of {name}: {outcome:?}");
        }
    }
    nothing_delivered(&directory);
}

#[test]
fn a_store_that_is_down_ends_the_start_at_the_deadline() {
    let directory = Directory::in_memory();
    for (keys, text) in [
        ("fail = \"unavailable\"", "the mock does not answer"),
        ("latency = \"1h\"", "no answer until the deadline"),
        ("latency = \"300ms\"\nfail = \"unavailable\"", "cannot fetch `db` from `down:db`"),
        // What the last attempt that had the time came to is not lost.
        (
            "latency = \"700ms\"\nfail = \"unavailable\"",
            "`fail` or `fail_first` says, and then no answer until the deadline",
        ),
    ] {
        let outcome = start(&directory, &[("down", keys)], &[("db", "down:db")], &["--deadline", "1s"]);
        outcome.refused(69, text);
        assert!((SECOND..SECOND * 3 / 2).contains(&outcome.elapsed), "{outcome:?}");
        nothing_delivered(&directory);
    }
}

#[test]
fn what_may_pass_is_tried_again_until_it_is_fine() {
    let directory = Directory::in_memory();
    let outcome = start(&directory, &[("flaky", "fail_first = 3")], &[("db", "flaky:db")], &["--log-level", "debug"]);
    outcome.ran();
    for attempt in 1..4 {
        outcome.says(&format!("attempt {attempt} for `db` failed"));
    }
    outcome.never_says("attempt 4");
}

#[test]
fn what_cannot_pass_is_tried_once() {
    let directory = Directory::in_memory();
    for (kind, code) in [("denied", 77), ("not-found", 66), ("untrusted", 76), ("malformed", 65)] {
        let keys = format!("fail = \"{kind}\"");
        let outcome = start(&directory, &[("no", &keys)], &[("db", "no:db")], &["--log-format", "json"]);
        outcome.refused(code, "\"attempts\":1");
        assert!(outcome.elapsed < SECOND * 2, "{outcome:?}");
    }
}

#[test]
fn after_a_final_failure_nothing_is_retried_and_what_is_in_flight_gets_two_seconds() {
    let directory = Directory::in_memory();
    let instances = [
        ("no", "fail = \"denied\""),
        ("slow", "latency = \"1s\""),
        ("hangs", "latency = \"1h\""),
        ("flaky", "latency = \"200ms\"\nfail_first = 1"),
    ];
    let secrets = [("no", "no:x"), ("slow", "slow:x"), ("hangs", "hangs:x"), ("flaky", "flaky:x")];
    let outcome = start(&directory, &instances, &secrets, &["--log-format", "json"]);
    outcome.refused(77, "3 of 4 secrets could not be fetched: no:x");
    assert!((SECOND * 2..SECOND * 3).contains(&outcome.elapsed), "{outcome:?}");
    let lines = json_lines(&outcome);
    let of = |reference: &str| lines.iter().find(|line| line["reference"] == reference);
    assert!(of("slow:x").is_none(), "it answered in time: {outcome:?}");
    let hanging = of("hangs:x").expect("it has a line");
    assert_eq!((&hanging["class"], &hanging["attempts"]), (&"unavailable".into(), &1.into()));
    outcome.says("no answer within 2 s after another failure");
    assert_eq!(of("flaky:x").expect("it has a line")["attempts"], 1);
    nothing_delivered(&directory);
}

#[test]
fn a_locator_is_asked_for_once_whatever_the_number_of_its_fields() {
    let directory = Directory::in_memory();
    let keys = "fail_first = 1\nvalues = { db = '{\"a\":\"1\",\"b\":{\"c\":\"2\"}}' }";
    let secrets = [("a", "one:db#a"), ("c", "one:db#/b/c"), ("whole", "one:db"), ("again", "one:db")];
    let outcome = start(&directory, &[("one", keys)], &secrets, &["--log-level", "debug"]);
    outcome.ran();
    assert_eq!(outcome.stderr.matches("attempt 1 for `db` failed").count(), 1, "{outcome:?}");
    // Two instances are two stores, also of one kind.
    let secrets = [("a", "one:db#a"), ("other", "two:db#a")];
    let outcome = start(&directory, &[("one", keys), ("two", keys)], &secrets, &["--log-level", "debug"]);
    outcome.ran();
    assert_eq!(outcome.stderr.matches("attempt 1 for `db` failed").count(), 2, "{outcome:?}");
}

#[test]
fn no_more_requests_are_in_flight_than_the_configuration_allows() {
    let secrets: String = (0..6).map(|number| format!("[secrets.s{number}]\nfrom = \"slow:s{number}\"\n")).collect();
    let elapsed = |concurrency: usize| {
        let toml = format!(
            "[fetch]\nconcurrency = {concurrency}\n[providers.slow]\ntype = \"mock\"\nlatency = \"300ms\"\n{secrets}"
        );
        let outcome = Run::new().config(&toml).start();
        outcome.ran();
        outcome.elapsed
    };
    assert!(elapsed(2) >= SECOND * 9 / 10);
    assert!((SECOND * 3 / 10..SECOND * 8 / 10).contains(&elapsed(6)));
}

#[test]
fn a_secret_that_was_never_asked_for_says_so() {
    let toml = "[fetch]\nconcurrency = 1\n[providers.slow]\ntype = \"mock\"\nlatency = \"1h\"\n\
                [secrets.a]\nfrom = \"slow:a\"\n[secrets.b]\nfrom = \"slow:b\"\n";
    let outcome = Run::new().config(toml).args(["--deadline", "1s", "--log-format", "json"]).start();
    outcome.refused(69, "2 of 2 secrets could not be fetched");
    outcome.says("not asked for: all of `[fetch] concurrency` was in use until the end");
    let attempts: Vec<Value> = json_lines(&outcome).into_iter().map(|line| line["attempts"].clone()).collect();
    assert!(attempts.contains(&0.into()) && attempts.contains(&1.into()), "{outcome:?}");
}

#[test]
fn a_missing_field_is_66_and_the_near_one_is_named() {
    let directory = Directory::in_memory();
    let keys = "values = { db = '{\"password\":\"hunter2\"}', plain = \"hunter2\", list = '[1]' }";
    let start = |reference: &str| start(&directory, &[("one", keys)], &[("db", reference)], &[]);
    let outcome = start("one:db#passwrod");
    outcome.refused(66, "no field `passwrod`");
    outcome.says("did you mean `#password`?");
    start("one:db#/password/x").refused(66, "one:db#/password/x");
    start("one:plain#password").refused(65, "it is not a JSON object");
    start("one:list#*").refused(65, "it is not");
    start("one:plain?decode=base64").refused(65, "it is not base64");
    for reference in ["one:db#passwrod", "one:plain#password", "one:list#*", "one:plain?decode=base64"] {
        start(reference).never_says("hunter2");
    }
    nothing_delivered(&directory);
}

#[test]
fn a_field_that_cannot_be_a_file_is_65_and_nothing_is_delivered() {
    let directory = Directory::in_memory();
    for (value, text) in [
        (r#"{"a":"1","../../etc/x":"2"}"#, "the name of one of its fields cannot be a file's"),
        (r#"{"":"1"}"#, "the name of one of its fields cannot be a file's"),
        (r#"{"a":"1","taken":"2"}"#, "the file `taken` would be another's too"),
    ] {
        let keys = format!("values = {{ db = '{value}', x = \"x\" }}");
        let outcome = start(&directory, &[("one", &keys)], &[("all", "one:db#*"), ("taken", "one:x")], &[]);
        outcome.refused(65, "cannot deliver `all` from `one:db#*`");
        outcome.says(text);
        outcome.never_says("etc/x");
        nothing_delivered(&directory);
    }
}
