//! A fake of ours: a proxy in front of a real server that answers as servers do on bad days. It ends TLS with a certificate of
//! the tests' authority, passes requests on, and counts them.

mod answers;
mod delay;

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use delay::Delay;

use crate::authority::Authority;
use crate::client::{Answer, Client};
use crate::http::{Request, Server, Then, write_answer};
use crate::random;
use crate::vault::Vault;

/// What goes wrong with one answer. Where a body is made up, it holds the proxy's [`canary`](FaultProxy::canary).
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing, but only after this long.
    Latency(Duration),
    /// Nothing comes at all, on a connection that stays.
    Silence,
    /// The head comes, and then nothing.
    StallAfterHeaders,
    /// The body comes byte by byte, each after this long.
    ByteByByte(Duration),
    /// The connection is reset in place of an answer.
    Reset,
    /// The connection is reset in the middle of the body.
    ResetInBody,
    /// Half of the body comes, then a proper end of TLS.
    Truncated,
    /// Half of the body comes, then an end that is none of TLS.
    Cut,
    /// 1 GiB of JSON, with its length.
    Huge,
    /// 1 GiB of JSON in chunks, without a length.
    HugeInChunks,
    /// 1 GiB of spaces that are 5 MiB as gzip.
    GzipBomb,
    /// This status, with a body as gateways have it.
    Status(u16),
    /// This status with this `Retry-After`: `"1"`, or a date.
    RetryAfter(u16, String),
    /// The real answer, said to be HTML.
    ContentType,
    /// A page of HTML with the status 200, as captive portals have it.
    Html,
    /// The real answer with this key twice in its object, the first time with the canary.
    DuplicateKey(&'static str),
    /// JSON that nests this deep in place of each `data`.
    Deep(usize),
    /// A redirect (307) to this address, with the path kept.
    Redirect(String),
}

/// When a fault happens: always, unless it is narrowed.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    place: String,
    body: String,
    after: usize,
    times: usize,
}

/// The proxy.
pub struct FaultProxy {
    server: Server,
    rules: Arc<Mutex<Vec<Rule>>>,
    canary: String,
}

impl Fault {
    /// Only for [places](Request::place) that begin so: `/v1/secret/`.
    pub fn on(self, place: &str) -> Rule {
        Rule { place: place.to_owned(), ..Rule::from(self) }
    }

    /// Only so many times.
    pub fn times(self, times: usize) -> Rule {
        Rule { times, ..Rule::from(self) }
    }
}

impl Rule {
    /// Only for places that begin so.
    pub fn only(self, place: &str) -> Self {
        Self { place: place.to_owned(), ..self }
    }

    /// Only for requests whose body has this in it.
    pub fn about(self, text: &str) -> Self {
        Self { body: text.to_owned(), ..self }
    }

    /// Only so many times.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Only after so many requests that it would have been for.
    pub fn after(self, after: usize) -> Self {
        Self { after, ..self }
    }
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self { fault, place: String::new(), body: String::new(), after: 0, times: usize::MAX }
    }
}

impl FaultProxy {
    /// A proxy without faults in front of a Vault, certified by this authority.
    pub fn start(vault: &Vault, authority: &Authority) -> Self {
        let pem = fs::read_to_string(vault.ca_file()).expect("it is there");
        Self::in_front_of(vault.address(), &pem, authority)
    }

    /// The same in front of any server (`https://HOST:PORT`), whose own authority is this one (PEM).
    pub fn in_front_of(address: &str, pem: &str, authority: &Authority) -> Self {
        let (rules, canary) = (Arc::<Mutex<Vec<Rule>>>::default(), random("canary"));
        let upstream = Upstream { address: address.to_owned(), client: Client::trusting(pem), canary: canary.clone() };
        let known = rules.clone();
        let server = Server::start(Some(&authority.server()), move |request, stream| {
            let fault = next_fault(&mut known.lock().expect("nobody panics with it"), request);
            answers::answer(&upstream, fault, request, stream)
        });
        Self { server, rules, canary }
    }

    /// `https://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Adds a fault. Of several that are for a request, the first one counts.
    pub fn add(&self, rule: impl Into<Rule>) -> &Self {
        self.rules.lock().expect("nobody panics with it").push(rule.into());
        self
    }

    /// Forgets faults, requests and connections.
    pub fn reset(&self) {
        self.rules.lock().expect("nobody panics with it").clear();
        self.server.forget();
    }

    /// The requests so far, with their headers.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// The same as `METHOD PLACE`, for comparisons.
    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(|request| format!("{} {}", request.method, request.place())).collect()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// What stands in every body that it makes up, and must be nowhere else.
    pub fn canary(&self) -> &str {
        &self.canary
    }
}

/// A server of another origin, to be redirected to: certified by the same authority, it says 200 to all, and its
/// [`requests`](Server::requests) tell what it was sent.
pub fn stranger(authority: &Authority) -> Server {
    Server::start(Some(&authority.server()), |_, stream| {
        let body = br#"{"data":{"data":{"password":"of a stranger"},"metadata":{"version":1}},"lease_id":""}"#;
        write_answer(stream, 200, &[("content-type", "application/json")], body)
    })
}

fn next_fault(rules: &mut [Rule], request: &Request) -> Option<Fault> {
    let (place, body) = (request.place(), String::from_utf8_lossy(&request.body));
    let matches = |rule: &Rule| rule.times > 0 && place.starts_with(&rule.place) && body.contains(&rule.body);
    let rule = rules.iter_mut().find(|rule| matches(rule))?;
    if rule.after > 0 {
        rule.after -= 1;
        return None;
    }
    rule.times = rule.times.saturating_sub(1);
    Some(rule.fault.clone())
}

struct Upstream {
    address: String,
    client: Client,
    canary: String,
}

impl Upstream {
    /// The real answer.
    fn ask(&self, request: &Request) -> io::Result<Answer> {
        // The host stays: AWS' signatures hold for it.
        const OWN: [&str; 3] = ["connection", "content-length", "accept-encoding"];
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<(&str, &str)> = headers.filter(|(name, _)| !OWN.contains(name)).collect();
        let url = format!("{}{}", self.address, request.path);
        self.client.send(&request.method, &url, &headers, &request.body)
    }
}

/// Passes an answer on as it is.
fn pass(stream: &mut dyn Write, answer: &Answer) -> io::Result<Then> {
    write_answer(stream, answer.status, &passed(answer), &answer.body)
}

/// The headers that are passed on.
fn passed(answer: &Answer) -> Vec<(&str, &str)> {
    const OWN: [&str; 3] = ["connection", "content-length", "transfer-encoding"];
    let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    headers.filter(|(name, _)| !OWN.contains(name)).collect()
}
