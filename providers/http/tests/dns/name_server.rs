//! A name server for one zone, on 127.0.0.1, by UDP and TCP (RFC 1035).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

/// The name server's response to a query.
#[derive(Clone, Copy, PartialEq)]
pub enum Reply {
    Addresses(&'static [&'static str]),
    /// The name exists, but has no such record.
    Nothing,
    NoSuchName,
    Failure,
    Silence,
    /// More addresses than a datagram can hold: a truncated response, with the flag that makes the client use TCP.
    Many,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Type {
    A,
    Aaaa,
}

pub type Zone = fn(&str, Type) -> Reply;

#[derive(Clone)]
pub struct NameServer {
    zone: Arc<Mutex<Zone>>,
    queried: Arc<Mutex<BTreeSet<String>>>,
}

impl NameServer {
    /// Serves this zone from now on, and clears the list of queried names.
    pub fn serve(&self, zone: Zone) {
        *self.zone.lock().unwrap() = zone;
        self.queried.lock().unwrap().clear();
    }

    /// The names that clients have queried.
    pub fn queried(&self) -> BTreeSet<String> {
        self.queried.lock().unwrap().clone()
    }

    pub fn start() -> Self {
        let server = Self { zone: Arc::new(Mutex::new(|_, _| Reply::NoSuchName)), queried: Arc::default() };
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

    fn answer_tcp(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let answer = self.answer(&query, true).unwrap_or_default();
        stream.write_all(&[&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat())
    }

    /// The response to a query (RFC 1035, section 4): the query's header with new flags and counts, its question, and the
    /// records.
    fn answer(&self, query: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
        let (name, end) = question_name(query)?;
        let kind = match query.get(end..end + 2)? {
            [0, 1] => Type::A,
            [0, 28] => Type::Aaaa,
            _ => return None,
        };
        self.queried.lock().unwrap().insert(name.clone());
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
        // A truncated response contains no record, so that the client must query again by TCP.
        let cut = reply == Reply::Many && !by_tcp;
        let records: Vec<Vec<u8>> = addresses.iter().filter(|_| !cut).filter_map(|text| record(text, kind)).collect();
        let flags = [0x81 | if cut { 0x02 } else { 0 }, 0x80 | code];
        let count = u16::try_from(records.len()).unwrap().to_be_bytes();
        let header = [&query[..2], &flags, &[0, 1], &count, &[0, 0, 0, 0]].concat();
        Some([header, query[12..end + 4].to_vec(), records.concat()].concat())
    }
}

/// The name in a query's question, and its end.
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

/// An address record for the question's name; `None` if the address is of the other family.
fn record(address: &str, kind: Type) -> Option<Vec<u8>> {
    let (code, data) = match (address.parse().unwrap(), kind) {
        (IpAddr::V4(ip), Type::A) => (1, ip.octets().to_vec()),
        (IpAddr::V6(ip), Type::Aaaa) => (28, ip.octets().to_vec()),
        _ => return None,
    };
    Some([&[0xc0, 12, 0, code, 0, 1, 0, 0, 0, 0, 0, u8::try_from(data.len()).unwrap()][..], &data].concat())
}
