//! The faults that every store over the network meets, end to end: each of the proxy's between handfast and a real server.
//! Whatever the network does, the exit code is right and in time, neither process takes much memory, the app starts exactly
//! right or not at all, and nothing that is secret, nor anything that a server has said, is in what is printed.

use std::process::Command;
use std::thread;
use std::time::Duration;

use handfast_testservers::{Authority, Fault, FaultProxy, Rule, Server, stranger, write_answer};

use crate::support::{Outcome, Run, hex, is_root};

/// A second.
pub const SECOND: Duration = Duration::from_secs(1);

/// The most memory that a process may have in use, in KiB.
const MOST_MEMORY: u64 = 64 << 10;

/// One secret in a real server, behind a proxy of its own that makes faults.
pub trait Line: Sync + Sized {
    /// Where a fault can be: all that a start asks for.
    const PLACES: &'static [&'static str];
    /// How the reference to the secret begins.
    const REFERENCE: &'static str;
    /// What is said of a rate limit.
    const BUSY: &'static str;

    /// `None` where no server can be had.
    fn new() -> Option<Self>;

    /// The proxy.
    fn proxy(&self) -> &FaultProxy;

    /// Whom handfast trusts here.
    fn authority(&self) -> &Authority;

    /// handfast, with the probe behind it, as it finds its store here; the secret is `DB_PASSWORD_FILE`.
    fn start(&self) -> Run;

    /// The same where another address is the store's.
    fn start_at(&self, address: &str) -> Run;

    /// What a redirect to another origin, in place of this answer, comes to: the exit code and the text.
    fn redirected(&self) -> (i32, &'static str);

    /// The secret's value.
    fn secret(&self) -> &str;

    /// What may not be printed besides.
    fn credential(&self) -> &str;

    /// What is said of answers that are not the store's, or too much: the fault, the exit code, the text.
    fn impossible() -> Vec<(Fault, i32, &'static str)>;

    /// [`start`](Self::start) with a deadline, and watched.
    fn run(&self, deadline: Duration) -> Run {
        watched(self.start(), deadline)
    }

    /// What holds whatever happens.
    #[track_caller]
    fn holds(&self, outcome: &Outcome, deadline: Duration) {
        assert!(outcome.elapsed < deadline + SECOND, "{outcome:?}");
        for canary in [self.secret(), self.credential(), self.proxy().canary(), "of a stranger"] {
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
        assert_eq!(app["descriptors"][3]["content"], hex(self.secret()), "{outcome:?}");
        assert_eq!(app["descriptors"].as_array().map(Vec::len), Some(4), "{outcome:?}");
    }

    /// It ends with this code and text, and the app never ran.
    #[track_caller]
    fn fails(&self, outcome: &Outcome, deadline: Duration, code: i32, text: &str) {
        self.holds(outcome, deadline);
        outcome.refused(code, &format!("cannot fetch `db-password` from `{}", Self::REFERENCE));
        outcome.says(text);
    }
}

/// The tracer tells what memory each process had; it needs root, since handfast lets nobody else look.
pub fn watched(run: Run, deadline: Duration) -> Run {
    let run = run.args(["--deadline", &format!("{}ms", deadline.as_millis()), "--log-level", "debug"]);
    if is_root() { run.measured() } else { run }
}

/// Runs these side by side, each with a line of its own; most of their time is waiting.
pub fn each<L: Line, T: Send + Sync>(cases: &[T], test: impl Fn(&L, &T) + Sync) {
    // The first, for its message where there is no server.
    if L::new().is_none() {
        return;
    }
    for some in cases.chunks(6) {
        thread::scope(|scope| {
            for case in some {
                scope.spawn(|| test(&L::new().expect("there was one"), case));
            }
        });
    }
}

/// Each case at each place.
fn everywhere<L: Line, T: Clone>(cases: &[T]) -> Vec<(&'static str, T)> {
    L::PLACES.iter().flat_map(|place| cases.iter().map(|case| (*place, case.clone()))).collect()
}

pub fn what_passes_in_time_is_waited_for_or_tried_again<L: Line>() {
    const DEADLINE: Duration = Duration::from_secs(15);
    let slow = [Fault::Latency(SECOND / 2), Fault::ByteByByte(SECOND / 1000), Fault::ContentType];
    let passing = [500, 502, 503, 504].map(Fault::Status);
    let broken = [Fault::Reset, Fault::ResetInBody, Fault::Truncated, Fault::Cut];
    let slow = slow.into_iter().map(Rule::from);
    let faults: Vec<Rule> = slow.chain(passing.into_iter().chain(broken).map(|fault| fault.times(2))).collect();
    each::<L, _>(&everywhere::<L, _>(&faults), |line, (place, rule)| {
        line.proxy().add(rule.clone().only(place));
        line.starts(&line.run(DEADLINE).start(), DEADLINE);
    });
}

/// Whatever asks the stores tries again as a start does.
pub fn what_passes_is_tried_again_by_check_online_too<L: Line>() {
    const DEADLINE: Duration = Duration::from_secs(20);
    let faults = [Fault::Status(408), Fault::Status(429), Fault::Status(503), Fault::Reset, Fault::Truncated];
    each::<L, _>(&everywhere::<L, _>(&faults), |line, (place, fault)| {
        line.proxy().add(fault.clone().times(2).only(place));
        let run = line.start().with_command("check").arg("--online");
        let outcome = run.args(["--deadline", "20s", "--log-level", "debug"]).start();
        assert_eq!(outcome.code, 0, "{place}: {outcome:?}");
        assert!(outcome.elapsed < DEADLINE, "{outcome:?}");
        outcome.says("debug: attempt 2 for");
        let told = String::from_utf8_lossy(&outcome.stdout).into_owned() + &outcome.stderr;
        assert!(told.contains(": fine\n"), "{outcome:?}");
        for canary in [line.secret(), line.credential(), line.proxy().canary()] {
            assert!(!told.contains(canary), "{outcome:?}");
        }
    });
}

pub fn what_does_not_pass_ends_at_the_deadline<L: Line>() {
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
        (Fault::RetryAfter(429, "99999999999999999999".into()), L::BUSY),
        (Fault::RetryAfter(503, "Fri, 31 Dec 9999 23:59:59 GMT".into()), "answered 503 Service Unavailable"),
    ];
    each::<L, _>(&everywhere::<L, _>(&faults), |line, (place, (fault, text))| {
        line.proxy().add(fault.clone().on(place));
        let outcome = line.run(DEADLINE).start();
        assert!(outcome.elapsed >= DEADLINE * 9 / 10, "{outcome:?}");
        line.fails(&outcome, DEADLINE, 69, text);
    });
}

pub fn what_cannot_be_the_stores_answer_is_final<L: Line>() {
    const DEADLINE: Duration = Duration::from_secs(20);
    each::<L, _>(&everywhere::<L, _>(&L::impossible()), |line, (place, (fault, code, text))| {
        line.proxy().add(fault.clone().on(place));
        let outcome = line.run(DEADLINE).start();
        line.fails(&outcome, DEADLINE - 2 * SECOND, *code, text);
        outcome.never_says("attempt 1 for");
    });
}

pub fn a_redirect_to_another_origin_gets_no_credential<L: Line>() {
    const DEADLINE: Duration = Duration::from_secs(2);
    each::<L, _>(L::PLACES, |line, place| {
        let other = stranger(line.authority());
        line.proxy().add(Fault::Redirect(other.address()).on(place));
        let outcome = line.run(DEADLINE).start();
        let (code, text) = line.redirected();
        line.fails(&outcome, DEADLINE, code, text);
        assert_eq!((other.connections(), other.requests().len()), (0, 0));
    });
    // As a login page does.
    each::<L, _>(&[301, 302, 303, 307, 308], |line, status| {
        let (status, other) = (*status, stranger(line.authority()));
        let location = format!("{}/login?next=x", other.address());
        let portal = Server::start(Some(&line.authority().server()), move |_, stream| {
            write_answer(stream, status, &[("location", &location)], b"")
        });
        let outcome = watched(line.start_at(&portal.address()), DEADLINE).start();
        line.fails(&outcome, DEADLINE, 76, "it redirects to another origin");
        assert_eq!((other.connections(), other.requests().len()), (0, 0));
        assert_eq!(portal.requests().len(), 1);
    });
}

pub fn a_wait_that_the_store_asks_for_is_kept<L: Line>() {
    const DEADLINE: Duration = Duration::from_secs(15);
    let format = ["-u", "-d", "+3 seconds", "+%a, %d %b %Y %H:%M:%S GMT"];
    let date = Command::new("date").env("LC_ALL", "C").args(format).output().expect("there is date").stdout;
    let date = String::from_utf8(date).expect("it is text").trim_end().to_owned();
    let cases = [(429, "2".to_owned(), 2), (503, "2".to_owned(), 2), (429, date.clone(), 1), (503, date, 1)];
    each::<L, _>(&cases, |line, (status, when, least)| {
        let last = L::PLACES.last().expect("there is one");
        line.proxy().add(Fault::RetryAfter(*status, when.clone()).on(last).times(1));
        let outcome = line.run(DEADLINE).start();
        assert!(outcome.elapsed >= SECOND * *least, "{outcome:?}");
        line.starts(&outcome, DEADLINE);
    });
}

/// Makes each of them a test of a line.
macro_rules! meets_every_fault {
    ($line:ty) => {
        meets_every_fault! { $line:
            what_passes_in_time_is_waited_for_or_tried_again
            what_passes_is_tried_again_by_check_online_too
            what_does_not_pass_ends_at_the_deadline
            what_cannot_be_the_stores_answer_is_final
            a_redirect_to_another_origin_gets_no_credential
            a_wait_that_the_store_asks_for_is_kept
        }
    };
    ($line:ty: $($test:ident)*) => {
        $(#[test] fn $test() { crate::shared::$test::<$line>(); })*
    };
}
pub(crate) use meets_every_fault;
