//! Faults of a batch: what it says of each of its secrets, and what becomes of those that it says nothing of.

use std::time::Duration;

use handfast_testservers::{Fault, random};
use serde_json::json;

use super::line::AwsLine;
use crate::shared::{Line, each, watched};
use crate::support::{Run, hex};

const DEADLINE: Duration = Duration::from_secs(10);

const BATCH: &str = "secretsmanager.BatchGetSecretValue";

/// The line's start with three more secrets, whose values are their names.
fn with_more(line: &AwsLine, deadline: Duration) -> (Run, [String; 3]) {
    let names = [(); 3].map(|()| random("more-"));
    let run = names.iter().enumerate().fold(line.start(), |run, (at, name)| {
        line.moto.must("secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": name }));
        run.env(format!("MORE_{at}_FILE"), format!("handfast:aws:sm/{name}"))
    });
    (watched(run, deadline), names)
}

#[test]
fn a_batch_that_fails_for_now_is_asked_for_again_as_one() {
    each::<AwsLine, _>(&[Fault::Status(503), Fault::Reset, Fault::Truncated], |line, fault| {
        line.proxy.add(fault.clone().on(BATCH).times(2));
        let (run, names) = with_more(line, DEADLINE);
        let outcome = run.start();
        let app = outcome.ran();
        for (descriptor, name) in (4..).zip(&names) {
            assert_eq!(app["descriptors"][descriptor]["content"], hex(name), "{outcome:?}");
        }
        assert_eq!(line.proxy.lines(), [(); 3].map(|()| format!("POST {BATCH}")), "{outcome:?}");
    });
}

#[test]
fn a_batch_that_fails_until_the_deadline_fails_all_of_it() {
    each::<AwsLine, _>(&[()], |line, ()| {
        line.proxy.add(Fault::Status(503).on(BATCH));
        let (run, _) = with_more(line, Duration::from_secs(1));
        let outcome = run.start();
        outcome.refused(69, "");
        outcome.says("answered 503 Service Unavailable");
        assert_eq!(outcome.stderr.matches("error: cannot fetch `").count(), 4, "{outcome:?}");
    });
}
