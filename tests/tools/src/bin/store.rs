//! `store [--slow ASKED GO]`: a fake of Vault and of a name server on loopback, for machines that are too small for a real
//! Vault.
//!
//! Answers each query for a name with 127.0.0.1 (port 53). On port 8200, answers requests for `vault:secret/web#password` like
//! Vault, with the value `from-the-store`, if the request has the token `token`. With `--slow`, it creates the file ASKED at
//! the first query for the name `slow.test`, and does not answer before the file GO exists. Goes to the background as soon as
//! it accepts requests.

#![no_main]

use std::ffi::{OsString, c_char, c_int};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use handfast_testtools::start::{arguments, fail};
use nix::errno::Errno;

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    serve(&arguments).unwrap_or_else(|error| fail("store", &error.to_string()))
}

fn serve(arguments: &[OsString]) -> io::Result<c_int> {
    let slow = match arguments {
        [] => None,
        [option, asked, go] if option == "--slow" => Some((asked.clone(), go.clone())),
        _ => return Err(io::Error::other("needs nothing, or --slow ASKED GO")),
    };
    let names = UdpSocket::bind("127.0.0.1:53")?;
    let server = TcpListener::bind("127.0.0.1:8200")?;
    // SAFETY: this process has one thread.
    if Errno::result(unsafe { libc::fork() })? != 0 {
        return Ok(0);
    }
    std::thread::spawn(move || {
        loop {
            let Err(error) = resolve(&names, slow.as_ref());
            eprintln!("store: {error}");
        }
    });
    for connection in server.incoming() {
        if let Err(error) = connection.and_then(|stream| answer(&stream)) {
            eprintln!("store: {error}");
        }
    }
    Ok(0)
}

/// The header has 12 bytes. The name follows in parts with their lengths, then its type and class. The answer repeats all of
/// it.
fn resolve(socket: &UdpSocket, slow: Option<&(OsString, OsString)>) -> io::Result<std::convert::Infallible> {
    const SLOW: &[u8] = b"\x04slow\x04test\0";
    loop {
        let mut message = [0; 512];
        let (length, from) = socket.recv_from(&mut message)?;
        let question = message.get(12..length).ok_or(io::ErrorKind::InvalidData)?;
        let end = question.iter().position(|byte| *byte == 0).ok_or(io::ErrorKind::InvalidData)? + 1;
        let (name, kind) = (&question[..end], question.get(end..end + 4).ok_or(io::ErrorKind::InvalidData)?);
        if let Some((asked, go)) = slow.filter(|_| name == SLOW) {
            fs::write(asked, "")?;
            while !Path::new(go).exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let is_address = kind == [0, 1, 0, 1];
        // The header of an answer with the same number of records, and without an error.
        let mut answer = message[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
        answer.extend_from_slice(name);
        answer.extend_from_slice(kind);
        if is_address {
            // The name at byte 12, type address, class Internet, valid for a minute, 4 bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, from)?;
    }
}

/// Serves one request on each connection.
fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let mut token = false;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        token |= line == "x-vault-token: token";
        if line.is_empty() {
            break;
        }
    }
    let path = first.split([' ', '?']).nth(1).unwrap_or_default();
    let (status, body) = match path {
        _ if !token => ("403 Forbidden", r#"{"errors":["permission denied"]}"#),
        "/v1/sys/internal/ui/mounts/secret/web" => {
            ("200 OK", r#"{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}"#)
        }
        "/v1/secret/data/web" => {
            ("200 OK", r#"{"data":{"data":{"password":"from-the-store"},"metadata":{"version":1}}}"#)
        }
        _ => ("404 Not Found", r#"{"errors":[]}"#),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
