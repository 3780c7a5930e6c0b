//! A relay that simulates a slow line. It passes bytes on unchanged, including TLS, so that a handshake takes as long as at
//! this distance. Alternatively it delays only requests, and no handshake.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// A relay in front of a server.
pub struct Delay {
    port: u16,
}

/// The events that are delayed, and their delay.
#[derive(Clone, Copy)]
enum Takes {
    /// Each direction takes half of this time, and a new connection takes all of it.
    RoundTrip(Duration),
    /// Delays the data that the client sends after the handshake.
    Request(Duration),
}

impl Delay {
    /// Starts a relay to `127.0.0.1:PORT` that adds this time to each round trip. The server must accept the relay's host name.
    /// The relay runs until the process ends.
    pub fn to(port: u16, round_trip: Duration) -> Self {
        Self::relay(port, Takes::RoundTrip(round_trip))
    }

    /// Starts a relay that adds this time to each request over TLS 1.3, like a slow server, and nothing to TCP and to the
    /// handshake. Concurrent requests wait at the same time, also on one connection.
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

    /// The port of the relay.
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
            // The kernel accepts a connection at once, so add the time of the connection to the first bytes.
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

/// The client's side of TLS 1.3, split into records. The first encrypted record ends the handshake.
#[derive(Default)]
struct Records {
    begun: Vec<u8>,
    encrypted: usize,
}

impl Records {
    /// The records that this part completes, each with whether it comes after the handshake.
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

/// Passes data on, each part when it is due. A separate thread reads, so that waiting parts do not delay others.
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
