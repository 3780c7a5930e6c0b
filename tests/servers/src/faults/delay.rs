//! A fake of ours: a line that takes its time. It passes bytes on as they are, TLS included, so that a handshake costs what it
//! costs at this distance.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// A relay in front of a server.
pub struct Delay {
    port: u16,
}

impl Delay {
    /// A relay to `127.0.0.1:PORT`, which must not need another host name, that adds this much to each round trip. It lasts as
    /// long as the process.
    pub fn to(port: u16, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let own = listener.local_addr().expect("it listens").port();
        spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let _ = relay(client, server, round_trip);
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

fn relay(client: TcpStream, server: TcpStream, round_trip: Duration) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    // The kernel has accepted it at once: what making the connection would have cost is added to the first bytes.
    let established = Instant::now() + round_trip;
    pump(client.try_clone()?, server.try_clone()?, round_trip / 2, established);
    pump(server, client, round_trip / 2, established);
    Ok(())
}

/// Passes what comes on, each part as much later: one thread reads, so that parts on their way do not hold up others.
fn pump(mut from: TcpStream, to: TcpStream, later: Duration, established: Instant) {
    let (sender, receiver) = channel();
    spawn(move || {
        let mut part = [0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut part) {
            let due = Instant::now().max(established) + later;
            if sender.send((due, part[..count].to_vec())).is_err() {
                return;
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
