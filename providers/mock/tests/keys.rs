//! Every key of `mock`, alone and together with the keys that change its meaning.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a missing value fails its test")]

use std::time::{Duration, Instant};

use handfast_core::{ErrorKind, MAX_SECRET, Problems, Table, Value, keys};
use handfast_mock::DEFINITION;
use handfast_testkit::{Instance, Outside, configure, run, table, text};

const KINDS: [(&str, ErrorKind); 5] = [
    ("unavailable", ErrorKind::Unavailable),
    ("denied", ErrorKind::Denied),
    ("not-found", ErrorKind::NotFound),
    ("untrusted", ErrorKind::Untrusted),
    ("malformed", ErrorKind::Malformed),
];

fn instance(settings: Table) -> Instance {
    Instance::from_settings(&DEFINITION, settings, Outside::default())
}

fn values() -> Value {
    Value::Table(table([("db-password", text("hunter2")), ("api-key", text("k\u{0}\n")), ("empty", text(""))]))
}

#[test]
fn without_values_every_name_has_its_own_secret() {
    run(async {
        let mock = instance(Table::default());
        assert_eq!(mock.value("mock:db").await, b"mock-db");
        assert_eq!(mock.value("mock:kv/web/db%3F é").await, "mock-kv/web/db? é".as_bytes());
        let long = "x".repeat(MAX_SECRET + 1);
        let mock = instance(table([("values", Value::Table(table([("long", text(&long))])))]));
        assert_eq!(mock.error("mock:long").await.kind, ErrorKind::Malformed);
    });
}

#[test]
fn with_values_no_other_secret_exists() {
    run(async {
        let mock = instance(table([("values", values())]));
        assert_eq!(mock.value("mock:db-password").await, b"hunter2");
        assert_eq!(mock.value("mock:api-key").await, b"k\0\n");
        assert_eq!(mock.value("mock:empty").await, b"");
        let error = mock.error("mock:db-pasword").await;
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::NotFound, "no secret `db-pasword` in `values`"));
        assert_eq!(error.hint.unwrap(), "did you mean `db-password`?");
        assert_eq!(mock.error("mock:something-else").await.hint, None);
        let none = instance(table([("values", Value::Table(Table::default()))]));
        assert_eq!(none.error("mock:db").await.kind, ErrorKind::NotFound);
    });
}

#[test]
fn fail_alone_makes_every_request_fail() {
    run(async {
        for (name, kind) in KINDS {
            let mock = instance(table([("fail", text(name)), ("values", values())]));
            for _ in 0..3 {
                for reference in ["mock:db-password", "mock:unknown"] {
                    assert_eq!(mock.error(reference).await.kind, kind, "{name}");
                }
            }
        }
    });
}

#[test]
fn fail_first_alone_makes_the_first_requests_for_each_secret_unavailable() {
    run(async {
        let mock = instance(table([("fail_first", Value::Integer(2))]));
        for reference in ["mock:a", "mock:b"] {
            for _ in 0..2 {
                assert_eq!(mock.error(reference).await.kind, ErrorKind::Unavailable);
            }
            mock.value(reference).await;
            mock.value(reference).await;
        }
    });
}

#[test]
fn fail_first_with_fail_makes_the_first_requests_fail_with_that_kind() {
    run(async {
        for (name, kind) in KINDS {
            let mock = instance(table([("fail", text(name)), ("fail_first", Value::Integer(1))]));
            assert_eq!(mock.error("mock:db").await.kind, kind, "{name}");
            assert_eq!(mock.value("mock:db").await, b"mock-db", "{name}");
        }
        let never = instance(table([("fail", text("denied")), ("fail_first", Value::Integer(0))]));
        never.value("mock:db").await;
    });
}

#[test]
fn latency_delays_values_and_failures_but_not_one_after_the_other() {
    const LATENCY: Duration = Duration::from_millis(40);
    run(async {
        for settings in
            [table([("latency", text("40ms"))]), table([("latency", text("40ms")), ("fail", text("denied"))])]
        {
            let mock = instance(settings);
            let started = Instant::now();
            drop(mock.fetch("mock:db").await);
            assert!(started.elapsed() >= LATENCY);
        }
        let mock = std::rc::Rc::new(instance(table([("latency", text("40ms"))])));
        let started = Instant::now();
        let running: Vec<_> = (0..32)
            .map(|at| {
                let mock = mock.clone();
                tokio::task::spawn_local(async move { mock.value(&format!("mock:{at}")).await })
            })
            .collect();
        for fetch in running {
            fetch.await.unwrap();
        }
        assert!(started.elapsed() < LATENCY * 16, "32 fetches took {:?}", started.elapsed());
    });
}

#[test]
fn a_fetch_that_is_dropped_during_the_latency_does_not_count() {
    run(async {
        let mock = instance(table([("latency", text("20ms")), ("fail_first", Value::Integer(1))]));
        let dropped = tokio::time::timeout(Duration::from_millis(1), mock.fetch("mock:db")).await;
        assert!(dropped.is_err());
        assert_eq!(mock.error("mock:db").await.kind, ErrorKind::Unavailable);
        mock.value("mock:db").await;
    });
}

#[test]
fn each_start_warns_that_the_secrets_are_made_up() {
    let warning = configure(&DEFINITION, Table::default(), &Outside::default()).warning().unwrap();
    assert_eq!(warning, "the provider `mock` is in use: its secrets are made up");
}

#[test]
fn wrong_settings_are_refused_and_no_value_is_quoted() {
    for (settings, message) in [
        (table([("fail", text("sometimes"))]), "`fail` is \"sometimes\", expected \"unavailable\" or"),
        (table([("fail_first", Value::Integer(-1))]), "`fail_first` is -1, expected an integer from 0 to 1000000"),
        (table([("latency", text("fast"))]), "`latency` is \"fast\", expected a duration"),
        (table([("values", text("hunter2"))]), "`values` is a string, expected a table of strings"),
        (table([("values", Value::Table(table([("db", Value::Integer(7))])))]), "`values.db` is an integer"),
        (table([("rotate_every", text("often"))]), "`rotate_every` is \"often\", expected a duration"),
        (table([("vaules", values())]), "unknown key `vaules` in [providers.mock]"),
    ] {
        let mut problems = Problems::default();
        keys::check(&settings, "providers.mock", &[DEFINITION.keys], &mut problems);
        let problems = problems.into_sorted();
        assert_eq!(problems.len(), 1, "{message}");
        assert!(problems[0].message.starts_with(message), "{}", problems[0].message);
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
}
