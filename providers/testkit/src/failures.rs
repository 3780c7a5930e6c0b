//! A failure has the right kind and a message of one sentence. A temporary failure ends.

use handfast_core::{Complaint, ErrorKind};

use crate::fixture::{Answer, Fixture, Instance, configure, parse, possible};

/// Exit 66. A missing secret must not be denied, empty or unavailable, because it may be optional.
pub fn a_missing_secret_is_not_found<F: Fixture>() {
    fails::<F>(F::missing, ErrorKind::NotFound);
}

/// Exit 77. A refusal is not retried, and must not look like a missing secret.
pub fn a_refused_secret_is_denied<F: Fixture>() {
    fails::<F>(F::denied, ErrorKind::Denied);
}

/// Only the scheduler retries: it knows the deadline, and limits the load.
pub fn an_unavailable_store_gets_one_request_and_the_next_fetch_succeeds<F: Fixture>() {
    let mut fixture = F::new();
    let Some(reference) = possible(fixture.unavailable(2)) else { return };
    crate::run(async {
        let instance = Instance::connect(&fixture);
        for attempt in 1..=2 {
            let error = instance.error(&reference).await;
            assert_eq!(error.kind, ErrorKind::Unavailable, "attempt {attempt}: {error}");
        }
        instance.value(&reference).await;
    });
}

/// An instance stays usable after a failure.
pub fn a_failure_leaves_the_other_secrets_readable<F: Fixture>() {
    let mut fixture = F::new();
    let Some(good) = possible(fixture.put("good", b"good")) else { return };
    let Some(bad) = possible(fixture.missing()) else { return };
    crate::run(async {
        let instance = Instance::connect(&fixture);
        instance.error(&bad).await;
        assert_eq!(instance.value(&good).await, b"good");
    });
}

/// Messages and hints are one line, start in lower case and have no full stop. Only the hint says how to fix the problem.
pub fn every_error_is_one_sentence<F: Fixture>() {
    for Failure { message, hint, .. } in all_failures::<F>(b"x") {
        is_one_sentence(&message);
        if let Some(hint) = hint {
            is_one_sentence(&hint);
            assert!(!message.contains(&hint), "the message contains the hint: {message}");
        }
    }
}

fn fails<F: Fixture>(make: fn(&mut F) -> Answer, kind: ErrorKind) {
    let mut fixture = F::new();
    let Some(reference) = possible(make(&mut fixture)) else { return };
    crate::run(async {
        let instance = Instance::connect(&fixture);
        for _ in 0..2 {
            let error = instance.error(&reference).await;
            assert_eq!(error.kind, kind, "{error}");
        }
    });
}

/// The texts of a failure.
pub(crate) struct Failure {
    pub message: String,
    pub hint: Option<String>,
    /// The error as a careless `{:?}` would log it.
    pub debug: String,
    /// The fixture's canaries. None of them may be in the texts.
    pub canaries: Vec<String>,
}

/// Every failure that the fixture can cause, with stores in which each value contains `canary`.
pub(crate) fn all_failures<F: Fixture>(canary: &[u8]) -> Vec<Failure> {
    type Fail<F> = fn(&mut F, &[u8]) -> (Answer, ErrorKind);
    let failing: [Fail<F>; 4] = [
        |store, _| (store.missing(), ErrorKind::NotFound),
        |store, _| (store.denied(), ErrorKind::Denied),
        |store, _| (store.unavailable(1), ErrorKind::Unavailable),
        |store, canary| (store.put("long", &canary.repeat(F::LARGEST / canary.len() + 1)), ErrorKind::Malformed),
    ];
    let mut failures = Vec::new();
    for fail in failing {
        let mut fixture = F::new();
        let neighbours = [fixture.put("neighbour", canary), fixture.put("other", &[canary, b"\n"].concat())];
        assert!(neighbours.iter().all(Result::is_ok), "a store must accept a short text: {neighbours:?}");
        let (answer, kind) = fail(&mut fixture, canary);
        let Some(reference) = possible(answer) else { continue };
        failures.push(cause(&fixture, &reference, kind));
    }
    let mut fixture = F::new();
    for (reference, kind) in fixture.more_failures() {
        failures.push(cause(&fixture, &reference, kind));
    }
    let configured = configure(F::DEFINITION, fixture.settings(), &fixture.outside());
    for reference in fixture.bad_references().unwrap_or_default() {
        if let Err(Complaint { message, hint }) = configured.check(&parse(reference).locator) {
            failures.push(Failure { message, hint, debug: String::new(), canaries: fixture.canaries() });
        }
    }
    failures
}

fn cause<F: Fixture>(fixture: &F, reference: &str, kind: ErrorKind) -> Failure {
    crate::run(async {
        let error = Instance::connect(fixture).error(reference).await;
        assert_eq!(error.kind, kind, "`{reference}`: {error}");
        Failure {
            message: error.to_string(),
            debug: format!("{error:?}"),
            hint: error.hint,
            canaries: fixture.canaries(),
        }
    })
}

fn is_one_sentence(text: &str) {
    let first = text.chars().next().expect("a text is not empty");
    assert!(!first.is_uppercase() && !first.is_whitespace(), "it starts with {first:?}: {text}");
    assert!(!text.ends_with(['.', '!', ' ', ':']), "it ends with a sign that no message ends with: {text}");
    assert!(!text.contains(char::is_control), "it has a control character: {text:?}");
    assert!(text.len() < 600, "it has {} characters, which is too long: {text}", text.len());
}
