//! A small HTTP/1.1 server, on which the fakes and the fault proxy are built. It sends any answer, valid or not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;

use crate::authority::Identity;

/// A received request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers in order, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When its head had arrived.
    pub at: Instant,
    /// The request is HTTP/1.0: its client waits for the end of the connection.
    last: bool,
}

/// The state of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection takes the next request.
    Keep,
    /// The connection ends properly for TLS and TCP.
    Close,
    /// The connection ends without a close of TLS, but properly for TCP.
    Cut,
    /// The connection ends with a reset.
    Reset,
}

/// A server on a free port of 127.0.0.1.
pub struct Server {
    scheme: &'static str,
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    ended: AtomicUsize,
}

trait Handler: Fn(&Request, &mut dyn Write) -> io::Result<Then> + Send + Sync + 'static {}
impl<F: Fn(&Request, &mut dyn Write) -> io::Result<Then> + Send + Sync + 'static> Handler for F {}

impl Server {
    /// Starts a server whose answers the handler writes. Without an identity, the server speaks plain HTTP.
    pub fn start(
        identity: Option<&Identity>,
        handler: impl Fn(&Request, &mut dyn Write) -> io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        Self::serve(listener, identity, handler)
    }

    /// Starts a server on a listener of the caller.
    pub fn serve(
        listener: TcpListener,
        identity: Option<&Identity>,
        handler: impl Fn(&Request, &mut dyn Write) -> io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        let port = listener.local_addr().expect("it listens").port();
        let shared = Arc::new(Shared::default());
        let tls = identity.map(|identity| Arc::new(identity.tls()));
        let server = Self { scheme: if tls.is_some() { "https" } else { "http" }, port, shared: shared.clone() };
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) > 0 {
                    return;
                }
                let Ok(stream) = stream else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, handler, tls) = (shared.clone(), handler.clone(), tls.clone());
                // A broken connection is not the server's error.
                std::thread::spawn(move || match tls {
                    None => converse_plainly(stream, &shared, &*handler),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
                        converse_by_tls(stream, connection, &shared, &*handler)
                    }
                });
            }
        });
        server
    }

    /// Starts a server that answers with a status and JSON.
    pub fn json(
        listener: TcpListener,
        identity: Option<&Identity>,
        answer: impl Fn(&Request) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        Self::serve(listener, identity, move |request, stream| {
            let (status, body) = answer(request);
            write_answer(stream, status, &[("content-type", "application/json")], body.to_string().as_bytes())
        })
    }

    /// `http://127.0.0.1:PORT` or `https://…`.
    pub fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The requests so far; a request appears as soon as it has arrived completely.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("nobody panics with it").clone()
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Forgets the requests and connections so far.
    pub fn forget(&self) {
        self.shared.requests.lock().expect("nobody panics with it").clear();
        self.shared.connections.store(0, Ordering::SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(1, Ordering::SeqCst);
        // Wake the thread that waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The subject of the request: its path, or for AWS' stores the operation in a header.
    pub fn place(&self) -> &str {
        self.header("x-amz-target").unwrap_or(&self.path)
    }

    /// A value of the query, undecoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The body as JSON; `null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Writes a complete answer.
pub fn write_answer(stream: &mut dyn Write, status: u16, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Then> {
    write_head(stream, status, headers, Some(body.len() as u64))?;
    stream.write_all(body)?;
    Ok(Then::Keep)
}

/// Writes the head of an answer. Without a length, the body ends with the connection.
pub fn write_head(
    stream: &mut dyn Write,
    status: u16,
    headers: &[(&str, &str)],
    length: Option<u64>,
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Said by a test\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    match length {
        Some(length) => head += &format!("content-length: {length}\r\n\r\n"),
        None => head += "connection: close\r\n\r\n",
    }
    stream.write_all(head.as_bytes())
}

fn converse_plainly(stream: TcpStream, shared: &Shared, handler: &impl Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let then = answer_one(&mut reader, BufReader::get_mut, shared, handler)?;
        match then {
            Then::Keep => {}
            Then::Reset => return reset(reader.get_ref()),
            Then::Close | Then::Cut => return Ok(()),
        }
    }
}

fn converse_by_tls(
    stream: TcpStream,
    connection: ServerConnection,
    shared: &Shared,
    handler: &impl Handler,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        match answer_one(&mut reader, BufReader::get_mut, shared, handler)? {
            Then::Keep => {}
            Then::Reset => return reset(reader.get_ref().get_ref()),
            Then::Cut => return Ok(()),
            Then::Close => {
                let stream = reader.get_mut();
                stream.conn.send_close_notify();
                return stream.flush();
            }
        }
    }
}

fn answer_one<S: Read + Write>(
    reader: &mut BufReader<S>,
    writer: impl Fn(&mut BufReader<S>) -> &mut S,
    shared: &Shared,
    handler: &impl Handler,
) -> io::Result<Then> {
    let request = read_request(reader)?;
    shared.requests.lock().expect("nobody panics with it").push(request.clone());
    let stream = writer(reader);
    let then = handler(&request, stream)?;
    stream.flush()?;
    let last = request.last || request.header("connection") == Some("close");
    Ok(if then == Then::Keep && last { Then::Close } else { then })
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Request> {
    let mut line = || -> io::Result<String> {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let last = words.next().as_deref() == Some("HTTP/1.0");
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new(), at: Instant::now(), last };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(request)
}

fn reset(stream: &TcpStream) -> io::Result<()> {
    // Wait, so that the bytes before the reset arrive before it.
    std::thread::sleep(Duration::from_millis(20));
    setsockopt(&stream.as_fd(), sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(())
}
