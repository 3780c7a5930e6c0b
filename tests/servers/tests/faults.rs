//! The fault proxy has the effect that each fault describes, and no effect without a fault.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use handfast_testservers::{
    Answer, Authority, Client, Delay, Fault, FaultProxy, Rule, Server, Vault, stranger, write_answer,
};
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

const PATH: &str = "/v1/secret/data/faulty";

type Connection = StreamOwned<ClientConnection, TcpStream>;

struct Line {
    vault: &'static Vault,
    proxy: FaultProxy,
    authority: Authority,
}

impl Line {
    fn new() -> Option<Self> {
        let vault = Vault::shared()?;
        vault.must("POST", "secret/data/faulty", json!({ "data": { "password": "hunter2" } }));
        let authority = Authority::new();
        Some(Self { vault, proxy: FaultProxy::start(vault, &authority), authority })
    }

    fn ask(&self) -> io::Result<Answer> {
        let headers = [("x-vault-token", self.vault.root_token())];
        Client::trusting(&self.authority.pem()).send("GET", &format!("{}{PATH}", self.proxy.address()), &headers, b"")
    }

    /// Reads from a separate connection until the data suffices. Returns the data and the connection.
    fn part(&self, fault: impl Into<Rule>, requests: usize, enough: impl Fn(&[u8]) -> bool) -> (String, Connection) {
        self.proxy.reset();
        self.proxy.add(fault);
        let address = self.proxy.address();
        let address = address.strip_prefix("https://").expect("it is TLS");
        let mut stream = Client::trusting(&self.authority.pem()).connect(address).expect("it listens");
        let token = self.vault.root_token();
        let request = format!("GET {PATH} HTTP/1.1\r\nhost: x\r\nx-vault-token: {token}\r\n\r\n");
        stream.write_all(request.repeat(requests).as_bytes()).expect("it reads");
        let (mut bytes, mut part) = (Vec::new(), [0; 1 << 16]);
        while !enough(&bytes) {
            let count = stream.read(&mut part).expect("there is more");
            assert_ne!(count, 0, "it ended after {} bytes", bytes.len());
            bytes.extend_from_slice(&part[..count]);
        }
        (String::from_utf8_lossy(&bytes).into_owned(), stream)
    }

    /// The answer with this fault.
    fn with(&self, fault: Fault) -> io::Result<Answer> {
        self.proxy.reset();
        self.proxy.add(fault);
        self.ask()
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[test]
fn without_a_fault_it_passes_on_and_counts() {
    let Some(line) = Line::new() else { return };
    let answer = line.ask().expect("it answers");
    assert_eq!((answer.status, &answer.json()["data"]["data"]["password"]), (200, &json!("hunter2")));
    assert_eq!(line.proxy.lines(), [format!("GET {PATH}")]);
    assert_eq!(line.proxy.connections(), 1);
    assert_eq!(line.proxy.requests()[0].header("x-vault-token"), Some(line.vault.root_token()));
}

#[test]
fn a_fault_is_for_some_paths_and_some_times() {
    let Some(line) = Line::new() else { return };
    line.proxy
        .add(Fault::Status(503).on("/v1/other/"))
        .add(Fault::Status(502).times(2))
        .add(Fault::Status(500).times(1));
    let statuses: Vec<u16> = (0..5).map(|_| line.ask().expect("it answers").status).collect();
    assert_eq!(statuses, [502, 502, 500, 200, 200]);
    line.proxy.reset();
    line.proxy.add(Fault::Status(504).times(1).after(1));
    let statuses: Vec<u16> = (0..3).map(|_| line.ask().expect("it answers").status).collect();
    assert_eq!(statuses, [200, 504, 200]);
}

#[test]
fn what_is_wrong_with_an_answer_arrives() {
    let Some(line) = Line::new() else { return };
    let canary = line.proxy.canary().to_owned();
    let busy = line.with(Fault::RetryAfter(429, "7".into())).expect("it answers");
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("7")));
    assert!(text(&busy).contains(&canary));
    let page = line.with(Fault::Html).expect("it answers");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
    let said = line.with(Fault::ContentType).expect("it answers");
    assert_eq!(said.header("content-type"), Some("text/html"));
    assert_eq!(said.json()["data"]["data"]["password"], "hunter2");
    let twice = text(&line.with(Fault::DuplicateKey("password")).expect("it answers"));
    assert!(twice.contains(&format!(r#"{{"password":"{canary}","password":"hunter2"}}"#)), "{twice}");
    let deep = text(&line.with(Fault::Deep(10_000)).expect("it answers"));
    assert!(deep.contains(&"[".repeat(10_000)) && deep.contains(&canary));
    let bomb = line.with(Fault::GzipBomb).expect("it answers");
    assert_eq!((bomb.header("content-encoding"), &bomb.body[..2]), (Some("gzip"), &b"\x1f\x8b"[..]));
    assert!(bomb.body.len() < 8 << 20, "{}", bomb.body.len());
}

#[test]
fn a_redirect_leads_to_a_stranger_who_remembers() {
    let Some(line) = Line::new() else { return };
    let other = stranger(&line.authority);
    let answer = line.with(Fault::Redirect(other.address())).expect("it answers");
    let location = format!("{}{PATH}", other.address());
    assert_eq!((answer.status, answer.header("location")), (307, Some(&*location)));
    assert!(other.requests().is_empty());
    let client = Client::trusting(&line.authority.pem());
    client.send("GET", &location, &[("x-vault-token", "x")], b"").expect("it answers");
    assert_eq!(other.requests()[0].header("x-vault-token"), Some("x"));
}

#[test]
fn broken_connections_break_each_in_its_own_way() {
    let Some(line) = Line::new() else { return };
    let kind = |fault: Fault| line.with(fault).expect_err("it is broken").kind();
    assert_eq!(kind(Fault::Reset), io::ErrorKind::ConnectionReset);
    assert_eq!(kind(Fault::ResetInBody), io::ErrorKind::ConnectionReset);
    // The tests' client checks only the length.
    assert_eq!(kind(Fault::Truncated), io::ErrorKind::InvalidData);
    assert_eq!(kind(Fault::Cut), io::ErrorKind::InvalidData);
}

#[test]
fn slow_answers_are_as_slow_as_they_say() {
    let Some(line) = Line::new() else { return };
    let timed = |fault: Fault| {
        let start = Instant::now();
        let answer = line.with(fault).expect("it answers");
        assert_eq!(answer.json()["data"]["data"]["password"], "hunter2");
        start.elapsed()
    };
    assert!(timed(Fault::Latency(Duration::from_millis(150))) >= Duration::from_millis(150));
    let pause = Duration::from_millis(1);
    assert!(timed(Fault::ByteByByte(pause)) >= pause * 200);
}

/// Whether no data comes for a while.
fn is_silent(mut stream: Connection) -> bool {
    stream.sock.set_read_timeout(Some(Duration::from_millis(300))).expect("it is no 0");
    stream.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn some_answers_never_end() {
    let Some(line) = Line::new() else { return };
    assert!(is_silent(line.part(Fault::Silence, 1, |_| true).1));
    let (head, stream) = line.part(Fault::StallAfterHeaders, 1, |bytes| bytes.ends_with(b"\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 200 ") && is_silent(stream), "{head}");
    let much = |bytes: &[u8]| bytes.len() >= 16 << 20;
    assert!(line.part(Fault::Huge, 1, much).0.contains("content-length: 1073741824\r\n"));
    assert!(line.part(Fault::HugeInChunks, 1, much).0.contains("transfer-encoding: chunked\r\n"));
}

#[test]
fn a_connection_takes_many_requests() {
    let Some(line) = Line::new() else { return };
    let heads = |bytes: &[u8]| bytes.windows(9).filter(|part| part == b"HTTP/1.1 ").count();
    let (answers, _) = line.part(Fault::Status(503).times(1), 3, |bytes| heads(bytes) == 3);
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["503", "200", "200"]);
    assert_eq!((line.proxy.requests().len(), line.proxy.connections()), (3, 1));
    let (answer, mut stream) = line.part(Fault::Close, 3, |bytes| bytes.ends_with(b"}\n"));
    assert!(answer.contains("connection: close\r\n") && answer.contains("hunter2"), "{answer}");
    assert_eq!((stream.read(&mut [0]).expect("it ends properly"), line.proxy.requests().len()), (0, 1));
}

#[test]
fn a_far_server_costs_its_round_trips() {
    let Some(vault) = Vault::shared() else { return };
    let port = vault.address().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let delay = Delay::to(port, Duration::from_millis(40));
    let client = Client::trusting(&std::fs::read_to_string(vault.ca_file()).expect("it is there"));
    let start = Instant::now();
    let answer = client.send("GET", &format!("{}/v1/sys/health", delay.address()), &[], b"").expect("it answers");
    assert_eq!(answer.json()["sealed"], Value::Bool(false));
    // One round trip for TCP, one for TLS 1.3, one for the request.
    assert!(start.elapsed() >= Duration::from_millis(120));
}

#[test]
fn a_request_can_take_its_time_where_the_connection_takes_none() {
    const EACH: Duration = Duration::from_millis(500);
    let authority = Authority::new();
    let server = Server::start(Some(&authority.server()), |_, stream| write_answer(stream, 200, &[], b"there"));
    let delay = Delay::of_requests(server.port(), EACH);
    let client = Client::trusting(&authority.pem());
    let start = Instant::now();
    let mut connection = client.connect(&format!("127.0.0.1:{}", delay.port())).expect("it takes connections");
    connection.conn.complete_io(&mut connection.sock).expect("it speaks TLS");
    assert!(start.elapsed() < EACH, "{:?}", start.elapsed());
    let ask = |connection: &mut Connection| {
        connection.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is there");
        connection.flush().expect("it is there");
    };
    let answers = |connection: &mut Connection, count: usize| {
        let mut text = String::new();
        while text.matches("\r\n\r\nthere").count() < count {
            let mut part = [0; 100];
            let read = connection.read(&mut part).expect("it answers");
            text += std::str::from_utf8(&part[..read]).expect("it is text");
        }
    };
    // First one after the other, then two at the same time.
    let start = Instant::now();
    ask(&mut connection);
    answers(&mut connection, 1);
    assert!(start.elapsed() >= EACH, "{:?}", start.elapsed());
    ask(&mut connection);
    ask(&mut connection);
    answers(&mut connection, 2);
    assert!((EACH * 2..EACH * 3).contains(&start.elapsed()), "{:?}", start.elapsed());
}
