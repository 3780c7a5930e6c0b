//! Vault on bad days, end to end: each fault of the proxy between handfast and a real Vault. Whatever the network does, the
//! exit code is right and in time, neither process takes much memory, the app starts exactly right or not at all, and nothing
//! that is secret, nor anything that a server has said, is in what is printed.

mod support;

use std::process::Command;
use std::thread;
use std::time::Duration;

use handfast_testservers::{
    Authority, Directory, Fault, FaultProxy, Rule, Server, Vault, random, stranger, write_answer,
};
use serde_json::json;
use support::{Outcome, Run, hex, is_root};

const SECOND: Duration = Duration::from_secs(1);

/// Where a fault can be: the question for the mount, and the secret.
const PLACES: [&str; 2] = ["/v1/sys/internal/ui/mounts/", "/v1/secret/data/"];

/// The most memory that a process may have in use, in KiB.
const MOST_MEMORY: u64 = 64 << 10;

/// A secret in a real Vault, behind a proxy of its own.
struct Line {
    vault: &'static Vault,
    proxy: FaultProxy,
    authority: Authority,
    files: Directory,
    name: String,
    secret: String,
    token: String,
}

impl Line {
    fn new() -> Option<Self> {
        let vault = Vault::shared()?;
        let (name, secret, policy) = (random("db-"), random("canary-"), random("policy-"));
        vault.must("POST", &format!("secret/data/{name}"), json!({ "data": { "password": secret } }));
        let rules = format!("path \"secret/data/{name}\" {{ capabilities = [\"read\"] }}");
        vault.must("POST", &format!("sys/policies/acl/{policy}"), json!({ "policy": rules }));
        let made = vault.must("POST", "auth/token/create", json!({ "policies": [policy] }));
        let token = made["auth"]["client_token"].as_str().expect("it is documented so").to_owned();
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let proxy = FaultProxy::start(vault, &authority);
        Some(Self { vault, proxy, authority, files, name, secret, token })
    }

    /// handfast, with the probe behind it, as it finds Vault here.
    fn run(&self, deadline: Duration) -> Run {
        let run = Run::new()
            .env("VAULT_ADDR", self.proxy.address())
            .env("VAULT_CACERT", self.files.file("ca.pem"))
            .env("VAULT_TOKEN", &self.token)
            .env("DB_PASSWORD_FILE", format!("handfast:vault:secret/{}#password", self.name))
            .args(["--deadline", &format!("{}ms", deadline.as_millis())])
            .args(["--log-level", "debug"]);
        // The tracer tells what memory each process had; it needs root, since handfast lets nobody else look.
        if is_root() { run.measured() } else { run }
    }

    /// What holds whatever happens.
    #[track_caller]
    fn holds(&self, outcome: &Outcome, deadline: Duration) {
        assert!(outcome.elapsed < deadline + SECOND, "{outcome:?}");
        for canary in [&self.secret, &self.token, self.proxy.canary(), "of a stranger"] {
            assert!(!outcome.stderr.contains(canary), "{outcome:?}");
        }
        if is_root() {
            let reports = outcome.memory().as_array().expect("a list");
            let of = |name: &str| reports.iter().find(|report| report["process"] == name);
            assert!(of("privileged").is_some() && of("worker").is_some(), "{reports:?}");
            for report in reports {
                let peak = report["peak_kib"].as_u64().expect("a number");
                assert!(peak <= MOST_MEMORY, "{}: {peak} KiB: {outcome:?}", report["process"]);
            }
        }
    }

    /// The app runs, and has its secret, byte for byte.
    #[track_caller]
    fn starts(&self, outcome: &Outcome, deadline: Duration) {
        self.holds(outcome, deadline);
        let app = outcome.ran();
        assert_eq!(app["environ"]["DB_PASSWORD_FILE"], "/dev/fd/3", "{outcome:?}");
        assert_eq!(app["descriptors"][3]["content"], hex(&self.secret), "{outcome:?}");
        assert_eq!(app["descriptors"].as_array().map(Vec::len), Some(4), "{outcome:?}");
    }

    /// It ends with this code and text, and the app never ran.
    #[track_caller]
    fn fails(&self, outcome: &Outcome, deadline: Duration, code: i32, text: &str) {
        self.holds(outcome, deadline);
        outcome.refused(code, "cannot fetch `db-password` from `vault:secret/");
        outcome.says(text);
    }
}

/// Runs these side by side, each with a line of its own; most of their time is waiting.
fn each<T: Send + Sync>(cases: &[T], test: impl Fn(&Line, &T) + Sync) {
    // The first, for its message where there is no Vault.
    if Line::new().is_none() {
        return;
    }
    for some in cases.chunks(6) {
        thread::scope(|scope| {
            for case in some {
                scope.spawn(|| test(&Line::new().expect("there was one"), case));
            }
        });
    }
}

/// Each case at each place.
fn everywhere<T: Clone>(cases: &[T]) -> Vec<(&'static str, T)> {
    PLACES.iter().flat_map(|place| cases.iter().map(|case| (*place, case.clone()))).collect()
}

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

/// The same line with a login by `approle`: who it is, and its secret id.
fn with_login(line: &Line, run: Run) -> (Run, String) {
    let (mount, policy) = (random("approle-"), random("policy-"));
    line.vault.policy(&policy, &format!("path \"secret/data/{}\" {{ capabilities = [\"read\"] }}", line.name));
    let role = line.vault.enable_approle(&mount, &[&policy]);
    let toml = format!(
        "[providers.vault]\nauth = {{ method = \"approle\", mount = \"{mount}\", role_id = \"{}\" }}\n",
        role.role_id
    );
    (run.config(&toml).env("VAULT_SECRET_ID", &role.secret_id), role.secret_id)
}

#[test]
fn a_login_meets_the_same_faults() {
    const DEADLINE: Duration = Duration::from_secs(3);
    let passing = [Fault::Status(503), Fault::Reset, Fault::Truncated].map(|fault| (fault.times(2), 0, ""));
    let lasting = [
        (Fault::Silence, 69, "no answer until the deadline"),
        (Fault::Status(500), 69, "answered 500 Internal Server Error"),
        (Fault::Html, 65, "it answered 200 with an HTML page"),
        (Fault::Status(404), 65, "it answered 404 with an HTML page"),
        (Fault::Status(403), 77, "it answered 403 with an HTML page"),
        (Fault::Huge, 65, "the answer is larger than 8388608 bytes"),
        (Fault::DuplicateKey("client_token"), 65, "Vault's answer cannot be read"),
    ];
    let lasting = lasting.map(|(fault, code, text)| (Rule::from(fault), code, text));
    let cases: Vec<_> = passing.into_iter().chain(lasting).collect();
    each(&cases, |line, (rule, code, text)| {
        line.proxy.add(rule.clone().only("/v1/auth/"));
        let (run, secret_id) = with_login(line, line.run(DEADLINE));
        let outcome = run.start();
        match code {
            0 => line.starts(&outcome, DEADLINE),
            code => line.fails(&outcome, DEADLINE, *code, text),
        }
        outcome.never_says(&secret_id);
    });
    each(&[()], |line, ()| {
        let other = stranger(&line.authority);
        line.proxy.add(Fault::Redirect(other.address()).on("/v1/auth/"));
        let (run, secret_id) = with_login(line, line.run(DEADLINE));
        let outcome = run.start();
        line.fails(&outcome, DEADLINE, 69, "it is a standby, and redirects to https://127.0.0.1:");
        outcome.never_says(&secret_id);
        assert_eq!(other.connections(), 0);
    });
}

/// Best effort: the app does not wait longer than two seconds for what is given back, and starts whatever comes of it.
#[test]
fn a_token_that_cannot_be_given_back_holds_up_no_start() {
    const DEADLINE: Duration = Duration::from_secs(10);
    let faults = [Fault::Silence, Fault::Reset, Fault::Status(503), Fault::Huge, Fault::Html];
    each(&faults, |line, fault| {
        line.proxy.add(fault.clone().on("/v1/auth/token/revoke-self"));
        let (run, _) = with_login(line, line.run(DEADLINE));
        let outcome = run.start();
        line.starts(&outcome, SECOND * 4);
        let silent = matches!(fault, Fault::Silence);
        outcome.says(match silent {
            true => "warn: Vault did not take back in 2s what this start does not need; it ends by itself",
            false => "warn: cannot give the login's token back to Vault, which ends by itself: ",
        });
        assert!(
            line.proxy.lines().iter().any(|request| request.ends_with("/v1/auth/token/revoke-self")),
            "{outcome:?}"
        );
    });
}
