//! Each fault, at the question for the mount and at the secret.

use std::process::Command;
use std::time::Duration;

use handfast_testservers::{Fault, Rule, Server, stranger, write_answer};
use serde_json::json;

use crate::line::{Line, PLACES, SECOND, each, everywhere};
use crate::support::Run;

#[test]
fn what_passes_in_time_is_waited_for_or_tried_again() {
    const DEADLINE: Duration = Duration::from_secs(15);
    let slow = [Fault::Latency(SECOND / 2), Fault::ByteByByte(SECOND / 1000), Fault::ContentType];
    let passing = [500, 502, 503, 504].map(Fault::Status);
    let broken = [Fault::Reset, Fault::ResetInBody, Fault::Truncated, Fault::Cut];
    let slow = slow.into_iter().map(Rule::from);
    let faults: Vec<Rule> = slow.chain(passing.into_iter().chain(broken).map(|fault| fault.times(2))).collect();
    each(&everywhere(&faults), |line, (place, rule)| {
        line.proxy.add(rule.clone().only(place));
        line.starts(&line.run(DEADLINE).start(), DEADLINE);
    });
}

#[test]
fn what_does_not_pass_ends_at_the_deadline() {
    const DEADLINE: Duration = Duration::from_secs(2);
    let faults = [
        (Fault::Latency(SECOND * 60), "no answer until the deadline"),
        (Fault::Silence, "no answer until the deadline"),
        (Fault::StallAfterHeaders, "no answer until the deadline"),
        (Fault::ByteByByte(SECOND), "no answer until the deadline"),
        (Fault::Reset, "connection reset"),
        (Fault::ResetInBody, "cannot ask https://127.0.0.1:"),
        (Fault::Truncated, "cannot ask https://127.0.0.1:"),
        (Fault::Cut, "the answer ended early"),
        (Fault::Status(500), "answered 500 Internal Server Error"),
        (Fault::Status(502), "answered 502 Bad Gateway"),
        (Fault::Status(503), "answered 503 Service Unavailable"),
        (Fault::Status(504), "answered 504 Gateway Timeout"),
        // Each would be a wait for longer than there is time.
        (Fault::RetryAfter(429, "99999999999999999999".into()), "a rate limit is reached"),
        (Fault::RetryAfter(503, "Fri, 31 Dec 9999 23:59:59 GMT".into()), "answered 503 Service Unavailable"),
    ];
    each(&everywhere(&faults), |line, (place, (fault, text))| {
        line.proxy.add(fault.clone().on(place));
        let outcome = line.run(DEADLINE).start();
        assert!(outcome.elapsed >= DEADLINE * 9 / 10, "{outcome:?}");
        line.fails(&outcome, DEADLINE, 69, text);
    });
}

#[test]
fn what_cannot_be_vaults_answer_is_final() {
    const DEADLINE: Duration = Duration::from_secs(20);
    let faults = [
        (Fault::Huge, 65, "the answer is larger than 8388608 bytes"),
        (Fault::HugeInChunks, 65, "the answer is larger than 8388608 bytes"),
        (Fault::GzipBomb, 65, "it answered 200 with something else than JSON"),
        (Fault::Html, 65, "it answered 200 with an HTML page"),
        (Fault::Status(404), 65, "it answered 404 with an HTML page"),
        (Fault::Status(401), 77, "it answered 401 with an HTML page"),
        (Fault::Status(403), 77, "it answered 403 with an HTML page"),
        (Fault::DuplicateKey("data"), 65, "Vault's answer cannot be read"),
        (Fault::Deep(10_000), 65, "Vault's answer"),
        (Fault::Deep(1_000_000), 65, "Vault's answer"),
    ];
    each(&everywhere(&faults), |line, (place, (fault, code, text))| {
        line.proxy.add(fault.clone().on(place));
        let outcome = line.run(DEADLINE).start();
        line.fails(&outcome, Duration::from_secs(5), *code, text);
        outcome.never_says("attempt 1 for");
    });
    let Some(line) = Line::new() else { return };
    line.proxy.add(Fault::DuplicateKey("password").on(PLACES[1]));
    line.fails(&line.run(DEADLINE).start(), DEADLINE, 65, "it is no object, or has a key twice");
}

#[test]
fn a_missing_answer_of_a_proxy_is_no_missing_secret_that_may_be_optional() {
    let Some(line) = Line::new() else { return };
    line.proxy.add(Fault::Status(404).on(PLACES[1]));
    let toml = format!("[secrets.db]\nfrom = \"vault:secret/{}\"\noptional = true\n", line.name);
    let outcome = line.run(SECOND * 5).config(&toml).start();
    outcome.refused(65, "");
    // The control: where Vault says so, the app starts.
    line.proxy.reset();
    line.vault.must("DELETE", &format!("secret/metadata/{}", line.name), json!(null));
    let outcome = Run::new()
        .env("VAULT_ADDR", line.proxy.address())
        .env("VAULT_CACERT", line.files.file("ca.pem"))
        .env("VAULT_TOKEN", &line.token)
        .config(&toml)
        .start();
    outcome.ran();
}

#[test]
fn a_redirect_to_another_origin_gets_no_token() {
    const DEADLINE: Duration = Duration::from_secs(2);
    // As a standby does, for which there may be an active one in a moment.
    each(&PLACES, |line, place| {
        let other = stranger(&line.authority);
        line.proxy.add(Fault::Redirect(other.address()).on(place));
        let outcome = line.run(DEADLINE).start();
        line.fails(&outcome, DEADLINE, 69, "it is a standby, and redirects to https://127.0.0.1:");
        assert_eq!((other.connections(), other.requests().len()), (0, 0));
    });
    // As a login page does.
    each(&[301, 302, 303, 307, 308], |line, status| {
        let (status, other) = (*status, stranger(&line.authority));
        let location = format!("{}/login?next=x", other.address());
        let portal = Server::start(Some(&line.authority.server()), move |_, stream| {
            write_answer(stream, status, &[("location", &location)], b"")
        });
        let outcome = line.run(DEADLINE).env("VAULT_ADDR", portal.address()).start();
        line.fails(&outcome, DEADLINE, 76, "it redirects to another origin");
        assert_eq!((other.connections(), other.requests().len()), (0, 0));
        assert_eq!(portal.requests().len(), 1);
    });
}

#[test]
fn a_wait_that_vault_asks_for_is_kept() {
    const DEADLINE: Duration = Duration::from_secs(15);
    let format = ["-u", "-d", "+3 seconds", "+%a, %d %b %Y %H:%M:%S GMT"];
    let date = Command::new("date").env("LC_ALL", "C").args(format).output().expect("there is date").stdout;
    let date = String::from_utf8(date).expect("it is text").trim_end().to_owned();
    let cases = [(429, "2".to_owned(), 2), (503, "2".to_owned(), 2), (429, date.clone(), 1), (503, date, 1)];
    each(&cases, |line, (status, when, least)| {
        line.proxy.add(Fault::RetryAfter(*status, when.clone()).on(PLACES[1]).times(1));
        let outcome = line.run(DEADLINE).start();
        assert!(outcome.elapsed >= SECOND * *least, "{outcome:?}");
        line.starts(&outcome, DEADLINE);
    });
}

#[test]
fn vaults_own_variables_bound_a_request_and_its_repetitions() {
    let Some(line) = Line::new() else { return };
    line.proxy.add(Fault::Silence.on(PLACES[1]).times(1));
    let outcome = line.run(SECOND * 10).env("VAULT_CLIENT_TIMEOUT", "1").start();
    assert!(outcome.elapsed >= SECOND, "{outcome:?}");
    line.starts(&outcome, SECOND * 4);
    for (retries, requests) in [("0", 1), ("2", 3)] {
        line.proxy.reset();
        line.proxy.add(Fault::Status(503).on(PLACES[1]));
        let outcome = line.run(SECOND * 20).env("VAULT_MAX_RETRIES", retries).start();
        line.fails(&outcome, SECOND * 5, 69, "answered 503 Service Unavailable");
        let asked = line.proxy.lines().iter().filter(|request| request.contains(PLACES[1])).count();
        assert_eq!(asked, requests, "{outcome:?}");
    }
}
