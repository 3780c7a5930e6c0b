//! A failure has the right kind and is told in one sentence; it passes, where it can.

use handfast_core::{Complaint, ErrorKind};

use crate::fixture::{Answer, Fixture, Instance, configure, parse, possible};

/// Exit 66, and what `optional` is about: a missing secret is never denied, empty or unavailable.
pub fn a_missing_secret_is_not_found<F: Fixture>() {
    fails::<F>(F::missing, ErrorKind::NotFound);
}

/// Exit 77: a refusal is never tried again, and never looks as if there were no such secret.
pub fn a_refused_secret_is_denied<F: Fixture>() {
    fails::<F>(F::denied, ErrorKind::Denied);
}

/// Trying again is the scheduler's: it knows the deadline, and spreads the load.
pub fn an_unavailable_store_is_asked_once_and_answers_the_next_time<F: Fixture>() {
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

/// An instance outlives its failures.
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

/// Lower case, no full stop, one line; what to do about it stands in the hint, and reads the same way.
pub fn every_error_is_one_sentence<F: Fixture>() {
    for Told { message, hint, .. } in everything_that_fails::<F>(b"x") {
        is_one_sentence(&message);
        if let Some(hint) = hint {
            is_one_sentence(&hint);
            assert!(!message.contains(&hint), "the hint stands in the message too: {message}");
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

/// What a failure says.
pub(crate) struct Told {
    pub message: String,
    pub hint: Option<String>,
    /// As a careless `{:?}` would have it in a log.
    pub debug: String,
    /// The fixture's canaries, none of which may be in it.
    pub canaries: Vec<String>,
}

/// What is said by everything that can be made to fail, in stores where each value holds `canary`.
pub(crate) fn everything_that_fails<F: Fixture>(canary: &[u8]) -> Vec<Told> {
    type Fail<F> = fn(&mut F, &[u8]) -> (Answer, ErrorKind);
    let failing: [Fail<F>; 4] = [
        |store, _| (store.missing(), ErrorKind::NotFound),
        |store, _| (store.denied(), ErrorKind::Denied),
        |store, _| (store.unavailable(1), ErrorKind::Unavailable),
        |store, canary| (store.put("long", &canary.repeat(F::LARGEST / canary.len() + 1)), ErrorKind::Malformed),
    ];
    let mut told = Vec::new();
    for fail in failing {
        let mut fixture = F::new();
        let neighbours = [fixture.put("neighbour", canary), fixture.put("other", &[canary, b"\n"].concat())];
        assert!(neighbours.iter().all(Result::is_ok), "a store takes a short text: {neighbours:?}");
        let (answer, kind) = fail(&mut fixture, canary);
        let Some(reference) = possible(answer) else { continue };
        told.push(provoke(&fixture, &reference, kind));
    }
    let mut fixture = F::new();
    for (reference, kind) in fixture.more_failures() {
        told.push(provoke(&fixture, &reference, kind));
    }
    let configured = configure(F::DEFINITION, fixture.settings(), &fixture.outside());
    for reference in fixture.bad_references().unwrap_or_default() {
        if let Err(Complaint { message, hint }) = configured.check(&parse(reference).locator) {
            told.push(Told { message, hint, debug: String::new(), canaries: fixture.canaries() });
        }
    }
    told
}

fn provoke<F: Fixture>(fixture: &F, reference: &str, kind: ErrorKind) -> Told {
    crate::run(async {
        let error = Instance::connect(fixture).error(reference).await;
        assert_eq!(error.kind, kind, "`{reference}`: {error}");
        Told { message: error.to_string(), debug: format!("{error:?}"), hint: error.hint, canaries: fixture.canaries() }
    })
}

fn is_one_sentence(text: &str) {
    let first = text.chars().next().expect("a text is not empty");
    assert!(!first.is_uppercase() && !first.is_whitespace(), "it starts with {first:?}: {text}");
    assert!(!text.ends_with(['.', '!', ' ', ':']), "it ends as no message does: {text}");
    assert!(!text.contains(char::is_control), "it has a control character: {text:?}");
    assert!(text.len() < 600, "nobody reads {} characters: {text}", text.len());
}
