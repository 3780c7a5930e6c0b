//! A proxy in front of a real server that answers as servers do on bad days. It terminates TLS with a certificate of the tests'
//! authority, passes requests on, and counts them.

mod answers;
mod delay;

use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use delay::Delay;
use ring::rand::{SecureRandom, SystemRandom};

use crate::authority::Authority;
use crate::client::{Answer, Client};
use crate::http::{Request, Server, Then, write_answer};
use crate::random;
use crate::vault::Vault;

/// A fault in one answer. An invented body contains the proxy's [`canary`](FaultProxy::canary).
#[derive(Clone, Debug)]
pub enum Fault {
    /// The answer is unchanged, but comes only after this time.
    Latency(Duration),
    /// No byte comes, and the connection stays open.
    Silence,
    /// The head comes, and then no more bytes.
    StallAfterHeaders,
    /// The body comes byte by byte, each byte after this time.
    ByteByByte(Duration),
    /// The connection is reset instead of an answer.
    Reset,
    /// The connection is reset in the middle of the body.
    ResetInBody,
    /// Half of the body comes, then a proper close of TLS.
    Truncated,
    /// Half of the body comes, then the connection ends without a close of TLS.
    Cut,
    /// The answer is unchanged, and the connection ends after it, as it says.
    Close,
    /// 1 GiB of JSON, with a length.
    Huge,
    /// 1 GiB of JSON in chunks, without a length.
    HugeInChunks,
    /// 1 GiB of spaces, which gzip compresses to 5 MiB.
    GzipBomb,
    /// This status, with a body like a gateway's.
    Status(u16),
    /// This status with this `Retry-After`: `"1"`, or a date.
    RetryAfter(u16, String),
    /// The real answer with the content type of HTML.
    ContentType,
    /// An HTML page with status 200, like a captive portal's.
    Html,
    /// The real answer with this key twice in its object, first with the canary.
    DuplicateKey(&'static str),
    /// JSON of this depth in place of each `data`.
    Deep(usize),
    /// A redirect (307) to this address with the same path.
    Redirect(String),
}

/// The conditions of a fault. Without conditions, it always happens.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    place: String,
    body: String,
    after: usize,
    times: usize,
    one_in: u32,
}

/// The proxy.
pub struct FaultProxy {
    server: Server,
    rules: Arc<Mutex<Vec<Rule>>>,
    faults: Arc<AtomicUsize>,
    canary: String,
}

impl Fault {
    /// The fault happens only for [places](Request::place) with this beginning: `/v1/secret/`.
    pub fn on(self, place: &str) -> Rule {
        Rule { place: place.to_owned(), ..Rule::from(self) }
    }

    /// The fault happens only this number of times.
    pub fn times(self, times: usize) -> Rule {
        Rule { times, ..Rule::from(self) }
    }
}

impl Rule {
    /// The fault happens only for places with this beginning.
    pub fn only(self, place: &str) -> Self {
        Self { place: place.to_owned(), ..self }
    }

    /// The fault happens only for requests whose body contains this text.
    pub fn about(self, text: &str) -> Self {
        Self { body: text.to_owned(), ..self }
    }

    /// The fault happens only this number of times.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// The fault happens only after this number of matching requests.
    pub fn after(self, after: usize) -> Self {
        Self { after, ..self }
    }

    /// The fault happens at random, to one in this many of the matching requests.
    pub fn one_in(self, many: u32) -> Self {
        Self { one_in: many, ..self }
    }
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self { fault, place: String::new(), body: String::new(), after: 0, times: usize::MAX, one_in: 1 }
    }
}

impl FaultProxy {
    /// Starts a proxy without faults in front of a Vault, with a certificate of this authority.
    pub fn start(vault: &Vault, authority: &Authority) -> Self {
        let pem = fs::read_to_string(vault.ca_file()).expect("it is there");
        Self::in_front_of(vault.address(), &pem, authority)
    }

    /// Starts a proxy in front of any server (`https://HOST:PORT`) that has this authority (PEM).
    pub fn in_front_of(address: &str, pem: &str, authority: &Authority) -> Self {
        let (rules, canary) = (Arc::<Mutex<Vec<Rule>>>::default(), random("canary"));
        let upstream = Upstream { address: address.to_owned(), client: Client::trusting(pem), canary: canary.clone() };
        let (known, faults) = (rules.clone(), Arc::<AtomicUsize>::default());
        let count = faults.clone();
        let server = Server::start(Some(&authority.server()), move |request, stream| {
            let fault = next_fault(&mut known.lock().expect("nobody panics with it"), request);
            count.fetch_add(usize::from(fault.is_some()), SeqCst);
            answers::answer(&upstream, fault, request, stream)
        });
        Self { server, rules, faults, canary }
    }

    /// `https://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Adds a fault. The first fault that matches a request counts.
    pub fn add(&self, rule: impl Into<Rule>) -> &Self {
        self.rules.lock().expect("nobody panics with it").push(rule.into());
        self
    }

    /// Forgets the faults.
    pub fn heal(&self) {
        self.rules.lock().expect("nobody panics with it").clear();
    }

    /// Forgets faults, requests and connections.
    pub fn reset(&self) {
        self.heal();
        self.server.forget();
    }

    /// The requests so far, with their headers.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// The requests as `METHOD PLACE`, for comparisons.
    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(|request| format!("{} {}", request.method, request.place())).collect()
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// The number of answers with a fault, ever.
    pub fn faults(&self) -> usize {
        self.faults.load(SeqCst)
    }

    /// The text in every invented body, which must occur nowhere else.
    pub fn canary(&self) -> &str {
        &self.canary
    }
}

/// A server of another origin, as a target of redirects. It is certified by the same authority and answers everything with 200;
/// its [`requests`](Server::requests) show what it received.
pub fn stranger(authority: &Authority) -> Server {
    Server::start(Some(&authority.server()), |_, stream| {
        let body = br#"{"data":{"data":{"password":"of a stranger"},"metadata":{"version":1}},"lease_id":""}"#;
        write_answer(stream, 200, &[("content-type", "application/json")], body)
    })
}

fn next_fault(rules: &mut [Rule], request: &Request) -> Option<Fault> {
    let (place, body) = (request.place(), String::from_utf8_lossy(&request.body));
    let matches = |rule: &Rule| {
        rule.times > 0 && place.starts_with(&rule.place) && body.contains(&rule.body) && happens(rule.one_in)
    };
    let rule = rules.iter_mut().find(|rule| matches(rule))?;
    if rule.after > 0 {
        rule.after -= 1;
        return None;
    }
    rule.times = rule.times.saturating_sub(1);
    Some(rule.fault.clone())
}

/// True once in this many calls, at random.
fn happens(one_in: u32) -> bool {
    let mut number = [0; 4];
    SystemRandom::new().fill(&mut number).expect("the system has randomness");
    u32::from_be_bytes(number).is_multiple_of(one_in)
}

struct Upstream {
    address: String,
    client: Client,
    canary: String,
}

impl Upstream {
    /// The real answer.
    fn ask(&self, request: &Request) -> io::Result<Answer> {
        // Keep the host, because AWS' signatures cover it.
        const OWN: [&str; 3] = ["connection", "content-length", "accept-encoding"];
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<(&str, &str)> = headers.filter(|(name, _)| !OWN.contains(name)).collect();
        let url = format!("{}{}", self.address, request.path);
        self.client.send(&request.method, &url, &headers, &request.body)
    }
}

/// Passes an answer on unchanged.
fn pass(stream: &mut dyn Write, answer: &Answer) -> io::Result<Then> {
    write_answer(stream, answer.status, &passed(answer), &answer.body)
}

/// The headers that the proxy passes on.
fn passed(answer: &Answer) -> Vec<(&str, &str)> {
    const OWN: [&str; 3] = ["connection", "content-length", "transfer-encoding"];
    let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    headers.filter(|(name, _)| !OWN.contains(name)).collect()
}
