//! Servers that misuse HTTP/2. No real server does this, so the test builds the frames itself.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use handfast_core::ErrorKind::{Malformed, Unavailable};
use handfast_core::ProviderError;
use handfast_http::{Options, Response, Url};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::http2::speaking;
use crate::support::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, from HPACK's static table.
const OK: &[u8] = &[0x88];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads a frame's kind.
async fn next_kind(stream: &mut (impl AsyncRead + Unpin)) -> Option<u8> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(head[3])
}

/// The result of a request to a server that responds with the frames `first`, then repeats the frames `endless`, and reads
/// nothing more. Also the number of bytes that the client has read.
async fn result_of(first: Vec<u8>, endless: Vec<u8>) -> (Result<Response, ProviderError>, usize) {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
    let tls = TlsAcceptor::from(Arc::new(speaking(authority.server(&["127.0.0.1"]), &["h2"])));
    let sent: Arc<Mutex<usize>> = Arc::default();
    let count = sent.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = tls.accept(stream).await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        stream.read_exact(&mut [0; 24]).await.unwrap();
        while next_kind(&mut stream).await.unwrap() != HEADERS {}
        let mut result = stream.write_all(&first).await;
        while result.is_ok() && !endless.is_empty() {
            result = stream.write_all(&endless).await;
            *count.lock().unwrap() += endless.len();
            tokio::task::yield_now().await;
        }
        let _ = stream.flush().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    let options = Options { http2: true, ..impatient() };
    let result = fetch(&authority, options, get(url)).await;
    let sent = *sent.lock().unwrap();
    (result, sent)
}

#[tokio::test]
async fn a_valid_response_of_the_same_server_is_accepted() {
    let answer = [frame(HEADERS, END_HEADERS, 1, OK), frame(DATA, END_STREAM, 1, b"found")].concat();
    assert_eq!(text(&result_of(answer, Vec::new()).await.0.unwrap()), "found");
}

#[tokio::test]
async fn a_response_that_is_not_http_2_is_malformed() {
    let head = frame(HEADERS, END_HEADERS, 1, OK);
    // `x: y` without indexing, and a reference to a missing entry.
    let field = [0x00, 1, b'x', 1, b'y'];
    let promise = [&[0, 0, 0, 2][..], OK].concat();
    for (what, frames) in [
        ("a frame larger than agreed", frame(DATA, 0, 1, &vec![0; (16 << 10) + 1])),
        ("an HPACK index out of range", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f])),
        ("no status", frame(HEADERS, END_HEADERS, 1, &field)),
        ("a push that nobody allowed", [head.clone(), frame(PUSH_PROMISE, END_HEADERS, 1, &promise)].concat()),
        ("a stream that nobody opened", frame(HEADERS, END_HEADERS, 7, OK)),
        ("data before the head", frame(DATA, 0, 1, b"x")),
        (
            "a window that overflows",
            [head.clone(), frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())].concat(),
        ),
        ("settings out of range", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("a head in the middle of a head", [frame(HEADERS, 0, 1, OK), frame(PING, 0, 0, &[0; 8])].concat()),
    ] {
        let error = result_of(frames, Vec::new()).await.0.err().unwrap_or_else(|| panic!("{what}"));
        assert_eq!(error.kind, Malformed, "{what}: {error:?}");
        assert!(error.message.ends_with("the answer is not HTTP/2"), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn an_endless_response_is_refused() {
    let head = frame(HEADERS, END_HEADERS, 1, OK);
    // 16 KiB of header fields; each field counts as 32 bytes more (RFC 9113, 6.5.2).
    let fields: Vec<u8> = [0x00, 1, b'x', 1, b'y'].repeat(3000);
    // A field of 4000 bytes in the table, and then many references to it.
    let mut bomb = vec![0x88, 0x40, 1, b'x', 0x7f, 0xa1, 0x1e];
    bomb.extend([b'y'; 4000]);
    bomb.extend([0xbe; 12_000]);
    for (what, first, endless, kinds) in [
        (
            "a head of many parts",
            frame(HEADERS, 0, 1, OK),
            frame(CONTINUATION, 0, 1, &fields),
            &[Malformed, Unavailable][..],
        ),
        (
            "a head of many empty parts",
            frame(HEADERS, 0, 1, OK),
            frame(CONTINUATION, 0, 1, &[]),
            &[Malformed, Unavailable],
        ),
        ("a small head that is large", frame(HEADERS, END_HEADERS, 1, &bomb), Vec::new(), &[Malformed]),
        (
            "interim answers",
            Vec::new(),
            frame(HEADERS, END_HEADERS, 1, &[0x08, 3, b'1', b'0', b'3']),
            &[Malformed, Unavailable],
        ),
        ("more data than the window", head.clone(), frame(DATA, 0, 1, &[b'x'; 16 << 10]), &[Malformed, Unavailable]),
        ("data of no bytes", head.clone(), frame(DATA, 0, 1, &[]), &[Malformed, Unavailable]),
        ("pings", head.clone(), frame(PING, 0, 0, &[0; 8]), &[Unavailable]),
        ("settings", head.clone(), frame(SETTINGS, 0, 0, &[]), &[Malformed, Unavailable]),
        ("resets of other streams", head.clone(), frame(RST_STREAM, 0, 2, &[0; 4]), &[Malformed, Unavailable]),
        ("window updates", head.clone(), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 0]), &[Malformed, Unavailable]),
        ("frames of no kind", head.clone(), frame(0xfe, 0, 1, &[0; 1000]), &[Malformed, Unavailable]),
    ] {
        let before = resident();
        let start = Instant::now();
        let (result, sent) = result_of(first, endless).await;
        let (error, elapsed) = (failed_any(result, what), start.elapsed());
        assert!(kinds.contains(&error.kind), "{what}: {error:?}");
        assert!(elapsed < Duration::from_secs(4), "{what}: {elapsed:?}");
        let grown = resident().saturating_sub(before);
        assert!(grown < 32 << 20, "{what}: {grown} bytes after {sent} were sent");
        println!("{what}: {error} ({} KiB sent, {} KiB grown, {elapsed:?})", sent >> 10, grown >> 10);
    }
}

#[tokio::test]
async fn a_server_that_allows_no_request_is_unavailable() {
    // The settings allow no stream, or no byte of a body.
    for setting in [[0, 3, 0, 0, 0, 0], [0, 4, 0, 0, 0, 0]] {
        let (result, _) = result_of(frame(SETTINGS, 0, 0, &setting), Vec::new()).await;
        failed(result, Unavailable, "");
    }
}

#[track_caller]
fn failed_any(result: Result<Response, ProviderError>, what: &str) -> ProviderError {
    let error = result.err().unwrap_or_else(|| panic!("{what} should have failed"));
    failed(Err::<(), _>(ProviderError::new(error.kind, error.message.clone())), error.kind, "");
    error
}

/// The memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
