//! Names in the static musl program, as a pod's resolv.conf makes them hard: `ndots:5`, a search list, and name servers
//! that fail in part.
//!
//! The test starts itself again in a network and a mount namespace, is the name server and the web server there, and runs
//! the example `resolve`, built for musl, against both. That needs root and the musl target; without them it prints one line
//! `skipped: …`, which `CI=true` makes a failure.
// Without a harness clippy does not see that this is a test.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const INSIDE: &str = "--inside";
/// What kubelet writes.
const POD: &str = "nameserver 127.0.0.1\nsearch a.b svc.cluster.local\noptions ndots:5\n";

/// What the name server says to a name and a type.
#[derive(Clone, Copy, PartialEq)]
enum Reply {
    Addresses(&'static [&'static str]),
    /// The name exists, but has no such record.
    Nothing,
    NoSuchName,
    Failure,
    Silence,
    /// More addresses than a datagram holds: cut, with the flag that sends the client to TCP.
    Many,
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    A,
    Aaaa,
}

type Zone = fn(&str, Type) -> Reply;

struct Case {
    name: &'static str,
    host: &'static str,
    zone: Zone,
    /// How the program's answer starts.
    expected: &'static str,
    /// The longest it may take.
    within: Duration,
    /// A name that must not have been asked for.
    never_asked: Option<&'static str>,
}

const QUICK: Duration = Duration::from_secs(1);

const CASES: &[Case] = &[
    Case {
        name: "an_outside_name_resolves_though_the_search_list_does_not_know_it",
        host: "store.example",
        zone: |name, kind| match (name, kind) {
            ("store.example", Type::A) => Reply::Addresses(&["127.0.0.2"]),
            ("store.example", _) => Reply::Nothing,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.2",
        within: QUICK,
        never_asked: None,
    },
    Case {
        name: "a_name_in_the_cluster_is_found_by_the_search_list_and_never_asked_for_outside",
        host: "vault.dev",
        zone: |name, kind| match (name, kind) {
            ("vault.dev.svc.cluster.local", Type::A) => Reply::Addresses(&["127.0.0.3"]),
            ("vault.dev.svc.cluster.local", _) => Reply::Nothing,
            ("vault.dev", _) => Reply::Addresses(&["127.6.6.6"]),
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.3",
        within: QUICK,
        never_asked: Some("vault.dev"),
    },
    Case {
        name: "a_trailing_dot_leaves_the_search_list_out",
        host: "store.example.",
        zone: |name, kind| match (name, kind) {
            ("store.example", Type::A) => Reply::Addresses(&["127.0.0.2"]),
            _ => Reply::Nothing,
        },
        expected: "ok 200 127.0.0.2",
        within: QUICK,
        never_asked: Some("store.example.a.b"),
    },
    Case {
        name: "a_name_with_ipv6_addresses_only",
        host: "six.example",
        zone: |name, kind| match (name, kind) {
            ("six.example", Type::Aaaa) => Reply::Addresses(&["::1"]),
            ("six.example", _) => Reply::Nothing,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 ::1",
        within: QUICK,
        never_asked: None,
    },
    Case {
        name: "a_name_with_an_ipv6_address_that_refuses_falls_back_to_ipv4",
        host: "both.example",
        zone: |name, kind| match (name, kind) {
            // Nobody's: there is no route to it.
            ("both.example", Type::Aaaa) => Reply::Addresses(&["2001:db8::1"]),
            ("both.example", _) => Reply::Addresses(&["127.0.0.4"]),
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.4",
        within: QUICK,
        never_asked: None,
    },
    Case {
        name: "a_suffix_that_knows_the_name_without_an_address_does_not_hide_it",
        host: "store.example",
        zone: |name, kind| match (name, kind) {
            ("store.example", Type::A) => Reply::Addresses(&["127.0.0.2"]),
            ("store.example" | "store.example.a.b", _) => Reply::Nothing,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.2",
        within: QUICK,
        never_asked: None,
    },
    Case {
        name: "a_suffix_whose_server_fails_does_not_hide_an_outside_name",
        host: "store.example",
        zone: |name, kind| match (name, kind) {
            ("store.example", Type::A) => Reply::Addresses(&["127.0.0.2"]),
            ("store.example", _) => Reply::Nothing,
            ("store.example.a.b", _) => Reply::Failure,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.0.2",
        // musl waits for an answer that is not a failure.
        within: Duration::from_secs(6),
        never_asked: None,
    },
    Case {
        name: "more_addresses_than_a_datagram_holds_come_by_tcp",
        host: "many.example",
        zone: |name, kind| match (name, kind) {
            ("many.example", Type::A) => Reply::Many,
            ("many.example", _) => Reply::Nothing,
            _ => Reply::NoSuchName,
        },
        expected: "ok 200 127.0.1.",
        within: QUICK,
        never_asked: None,
    },
    Case {
        name: "no_such_name_is_unavailable_at_once",
        host: "store.example",
        zone: |_, _| Reply::NoSuchName,
        expected: "Unavailable cannot ask http://store.example:8080: the name cannot be resolved: name does not resolve",
        within: QUICK,
        never_asked: None,
    },
    Case {
        name: "a_server_that_fails_is_unavailable_within_bounds",
        host: "store.example",
        zone: |_, _| Reply::Failure,
        expected: "Unavailable cannot ask http://store.example:8080: the name cannot be resolved: no name server gave",
        within: Duration::from_secs(7),
        never_asked: None,
    },
    Case {
        name: "a_server_that_says_nothing_is_unavailable_within_bounds",
        host: "store.example",
        zone: |_, _| Reply::Silence,
        expected: "Unavailable cannot ask http://store.example:8080: the name cannot be resolved: no name server gave",
        within: Duration::from_secs(7),
        never_asked: None,
    },
    Case {
        name: "localhost_is_this_machine_whatever_the_server_says",
        host: "localhost",
        zone: |_, _| Reply::Addresses(&["127.6.6.6"]),
        expected: "ok 200 127.0.0.1",
        within: QUICK,
        never_asked: Some("localhost"),
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == INSIDE) {
        return inside(Path::new(&arguments[at + 1]));
    }
    let program = match prepare() {
        Ok(program) => program,
        Err(why) => {
            println!("skipped: {why}");
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            return if ci { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .arg(INSIDE)
        .arg(program)
        .status()
        .unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds the example for musl, where that can be run at all.
fn prepare() -> Result<PathBuf, String> {
    let able = Command::new("unshare")
        .args(["--net", "--mount", "ip", "link", "set", "lo", "up"])
        .stderr(Stdio::null())
        .status();
    if !able.is_ok_and(|status| status.success()) {
        return Err("namespaces of our own need root, unshare and ip".into());
    }
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("there is no target directory")?;
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "handfast-http", "--example", "resolve", "--target", &target])
        .arg("--target-dir")
        .arg(directory)
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.status.success() {
        // The one thing that is missing on a machine where all else builds; anything else is a failure of the crate.
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(errors.contains("target may not be installed") || errors.contains("musl-gcc"), "{errors}");
        return Err(format!("the target {target} or musl-gcc is not installed"));
    }
    Ok(directory.join(target).join("debug/examples/resolve"))
}

fn inside(program: &Path) -> ExitCode {
    let run = |command: &str, arguments: &[&str]| {
        assert!(Command::new(command).args(arguments).status().unwrap().success(), "{command} {arguments:?}");
    };
    run("ip", &["link", "set", "lo", "up"]);
    run("mount", &["-t", "tmpfs", "none", "/mnt"]);
    fs::write("/mnt/resolv.conf", POD).unwrap();
    fs::write("/mnt/hosts", "127.9.9.9 localhost\n").unwrap();
    run("mount", &["--bind", "/mnt/resolv.conf", "/etc/resolv.conf"]);
    run("mount", &["--bind", "/mnt/hosts", "/etc/hosts"]);
    serve_http();
    let names = NameServer::start();
    let mut failed = 0;
    for case in CASES {
        let verdict = names.check(case, program);
        println!("test {} ... {}", case.name, verdict.as_ref().map_or_else(|why| why.as_str(), |took| took.as_str()));
        failed += usize::from(verdict.is_err());
    }
    let verdict = names.check_without_threads(program);
    println!(
        "test no_thread_for_a_look_up_is_the_systems_fault ... {}",
        verdict.as_ref().map_or_else(|why| why.as_str(), |()| "ok")
    );
    failed += usize::from(verdict.is_err());
    println!("{} passed; {failed} failed", CASES.len() + 1 - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Answers every request with the address that it came to.
fn serve_http() {
    for address in ["0.0.0.0:8080", "[::1]:8080"] {
        let listener = TcpListener::bind(address).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer_http(stream);
            }
        });
    }
}

fn answer_http(mut stream: TcpStream) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 4096])?;
    let body = stream.local_addr()?.ip().to_string();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

struct NameServer {
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl NameServer {
    fn start() -> Self {
        let server = Self { zone: Arc::new(Mutex::new(|_, _| Reply::NoSuchName)), asked: Arc::default() };
        let udp = UdpSocket::bind("127.0.0.1:53").unwrap();
        let answerer = server.clone();
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut query) {
                if let Some(answer) = answerer.answer(&query[..length], false) {
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        let tcp = TcpListener::bind("127.0.0.1:53").unwrap();
        let answerer = server.clone();
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let _ = answerer.answer_tcp(stream);
            }
        });
        server
    }

    fn clone(&self) -> Self {
        Self { zone: self.zone.clone(), asked: self.asked.clone() }
    }

    /// Runs a case; the time that it took, or why it failed.
    fn check(&self, case: &Case, program: &Path) -> Result<String, String> {
        *self.zone.lock().unwrap() = case.zone;
        self.asked.lock().unwrap().clear();
        let start = Instant::now();
        let output = Command::new(program).arg(format!("http://{}:8080/", case.host)).output().unwrap();
        let took = start.elapsed();
        let text = String::from_utf8_lossy(&output.stdout);
        let asked = self.asked.lock().unwrap();
        if !text.starts_with(case.expected) {
            return Err(format!(
                "FAILED: expected `{}`, got `{}` after {took:?}; asked {asked:?}",
                case.expected,
                text.trim()
            ));
        }
        if took > case.within {
            return Err(format!("FAILED: took {took:?}, at most {:?} are allowed", case.within));
        }
        if let Some(name) = case.never_asked.filter(|name| asked.contains(*name)) {
            return Err(format!("FAILED: {name} was asked for"));
        }
        Ok(format!("ok ({took:.1?}: {})", text.trim()))
    }

    /// A user that may have one thread has none for a look-up.
    fn check_without_threads(&self, program: &Path) -> Result<(), String> {
        *self.zone.lock().unwrap() = |_, _| Reply::Addresses(&["127.0.0.2"]);
        // The mount namespace is ours: a copy that any user can reach.
        fs::copy(program, "/mnt/resolve").unwrap();
        let output = Command::new("setpriv")
            .args([
                "--reuid=54321",
                "--clear-groups",
                "prlimit",
                "--nproc=1",
                "/mnt/resolve",
                "http://store.example:8080/",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        match text.starts_with("Os cannot ask http://store.example:8080: out of memory or threads") {
            true => Ok(()),
            false => Err(format!("FAILED: {text} {}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    fn answer_tcp(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let answer = self.answer(&query, true).unwrap_or_default();
        stream.write_all(&[&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat())
    }

    /// The answer to a query (RFC 1035, section 4): its header with our flags and counts, its question, our records.
    fn answer(&self, query: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
        let (name, end) = question_name(query)?;
        let kind = match query.get(end..end + 2)? {
            [0, 1] => Type::A,
            [0, 28] => Type::Aaaa,
            _ => return None,
        };
        self.asked.lock().unwrap().insert(name.clone());
        let reply = (self.zone.lock().unwrap())(&name, kind);
        let many: Vec<String> = (1..=60).map(|last| format!("127.0.1.{last}")).collect();
        let (code, addresses): (u8, Vec<&str>) = match reply {
            Reply::Addresses(addresses) => (0, addresses.to_vec()),
            Reply::Many => (0, many.iter().map(String::as_str).collect()),
            Reply::Nothing => (0, Vec::new()),
            Reply::Failure => (2, Vec::new()),
            Reply::NoSuchName => (3, Vec::new()),
            Reply::Silence => return None,
        };
        // Cut, a client has to ask again: nothing of the answer may do as it is.
        let cut = reply == Reply::Many && !by_tcp;
        let records: Vec<Vec<u8>> = addresses.iter().filter(|_| !cut).filter_map(|text| record(text, kind)).collect();
        let flags = [0x81 | if cut { 0x02 } else { 0 }, 0x80 | code];
        let count = u16::try_from(records.len()).unwrap().to_be_bytes();
        let header = [&query[..2], &flags, &[0, 1], &count, &[0, 0, 0, 0]].concat();
        Some([header, query[12..end + 4].to_vec(), records.concat()].concat())
    }
}

/// The name of a query's question, and where it ends.
fn question_name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
}

/// An address record for the question's name, or none where it is of the other family.
fn record(address: &str, kind: Type) -> Option<Vec<u8>> {
    let (code, data) = match (address.parse().unwrap(), kind) {
        (IpAddr::V4(ip), Type::A) => (1, ip.octets().to_vec()),
        (IpAddr::V6(ip), Type::Aaaa) => (28, ip.octets().to_vec()),
        _ => return None,
    };
    Some([&[0xc0, 12, 0, code, 0, 1, 0, 0, 0, 0, 0, u8::try_from(data.len()).unwrap()][..], &data].concat())
}
