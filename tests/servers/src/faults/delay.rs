//! A fake of ours: a line that takes its time. It passes bytes on as they are, TLS included, so that a handshake costs what it
//! costs at this distance; or so that it costs nothing, and each request its time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// A relay in front of a server.
pub struct Delay {
    port: u16,
}

/// What takes how long.
#[derive(Clone, Copy)]
enum Takes {
    /// Each way, half of this; making the connection, as much.
    RoundTrip(Duration),
    /// What the client sends once the handshake is over.
    Request(Duration),
}

impl Delay {
    /// A relay to `127.0.0.1:PORT`, which must not need another host name, that adds this much to each round trip. It lasts as
    /// long as the process.
    pub fn to(port: u16, round_trip: Duration) -> Self {
        Self::relay(port, Takes::RoundTrip(round_trip))
    }

    /// The same that adds this much to each request over TLS 1.3, as a slow server does, and nothing to TCP and to the
    /// handshake. Requests that are sent side by side wait side by side, on one connection too.
    pub fn of_requests(port: u16, each: Duration) -> Self {
        Self::relay(port, Takes::Request(each))
    }

    fn relay(port: u16, takes: Takes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let own = listener.local_addr().expect("it listens").port();
        spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let _ = relay(client, server, takes);
            }
        });
        Self { port: own }
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `https://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

fn relay(client: TcpStream, server: TcpStream, takes: Takes) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (to_server, to_client) = (server.try_clone()?, client.try_clone()?);
    match takes {
        Takes::RoundTrip(time) => {
            // The kernel has accepted it at once: what making the connection would have cost is added to the first bytes.
            let established = Instant::now() + time;
            let due = move || Instant::now().max(established) + time / 2;
            pump(client, to_server, move |part| vec![(due(), part)]);
            pump(server, to_client, move |part| vec![(due(), part)]);
        }
        Takes::Request(time) => {
            let mut records = Records::default();
            pump(client, to_server, move |part| {
                let now = Instant::now();
                let due = |(is_request, record)| (if is_request { now + time } else { now }, record);
                records.cut(&part).into_iter().map(due).collect()
            });
            pump(server, to_client, |part| vec![(Instant::now(), part)]);
        }
    }
    Ok(())
}

/// What a client sends by TLS 1.3, record by record: its first encrypted one ends the handshake.
#[derive(Default)]
struct Records {
    begun: Vec<u8>,
    encrypted: usize,
}

impl Records {
    /// The records that are whole with this part, each with whether it comes after the handshake.
    fn cut(&mut self, part: &[u8]) -> Vec<(bool, Vec<u8>)> {
        const HEADER: usize = 5;
        const ENCRYPTED: u8 = 23;
        self.begun.extend_from_slice(part);
        let mut whole = Vec::new();
        while let [kind, _, _, high, low, ..] = self.begun[..] {
            let length = HEADER + usize::from(u16::from_be_bytes([high, low]));
            if self.begun.len() < length {
                break;
            }
            self.encrypted += usize::from(kind == ENCRYPTED);
            let rest = self.begun.split_off(length);
            whole.push((self.encrypted > 1, std::mem::replace(&mut self.begun, rest)));
        }
        whole
    }
}

/// Passes what comes on, each part when it is due: one thread reads, so that parts on their way do not hold up others.
fn pump(mut from: TcpStream, to: TcpStream, mut due: impl FnMut(Vec<u8>) -> Vec<(Instant, Vec<u8>)> + Send + 'static) {
    let (sender, receiver) = channel();
    spawn(move || {
        let mut part = [0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut part) {
            for part in due(part[..count].to_vec()) {
                if sender.send(part).is_err() {
                    return;
                }
            }
        }
    });
    spawn(move || deliver(&receiver, to));
}

fn deliver(parts: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    while let Ok((due, part)) = parts.recv() {
        sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&part).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
