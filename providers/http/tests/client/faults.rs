//! Responses that are late, incomplete, endless or not HTTP. All use TLS, unless a test says otherwise.

use std::time::{Duration, Instant};

use handfast_core::ErrorKind::{Denied, Malformed, NotFound, Unavailable, Untrusted};
use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::{Address, Client, Method, Options, Plaintext, Request, Response, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

const LONG: Duration = Duration::from_secs(30);

/// The result of a request to a server with this script. The server must have received exactly one request: the client does not
/// retry.
async fn result_of(script: impl Script) -> Result<Response, ProviderError> {
    result_with(options(), script).await
}

async fn result_with(options: Options, script: impl Script) -> Result<Response, ProviderError> {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server(&["127.0.0.1"])), script).await;
    let result = fetch(&authority, options, get(server.url("https", "/v1/x"))).await;
    assert_eq!(server.requests().len(), 1);
    result
}

#[tokio::test]
async fn a_response_arrives_byte_for_byte() {
    let mut answer = b"HTTP/1.1 200 OK\r\nx-vault-index: 7\r\ncontent-length: 6\r\n\r\n".to_vec();
    answer.extend_from_slice(b"\0\xff\r\n\n ");
    let response = result_of(move |_| vec![send(&answer)]).await.unwrap();
    assert_eq!((response.status(), response.is_success()), (200, true));
    assert_eq!(response.header("X-Vault-Index"), Some("7"));
    assert_eq!(response.into_body().expose(), b"\0\xff\r\n\n ");
}

#[tokio::test]
async fn a_chunked_response_arrives_whole() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let script = move |_: &str| vec![send(head), send("3\r\nabc\r\n"), send("2\r\nde\r\n0\r\n\r\n")];
    assert_eq!(text(&result_of(script).await.unwrap()), "abcde");
}

#[tokio::test]
async fn a_body_and_its_headers_arrive() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server(&["127.0.0.1"])), |_| ok("")).await;
    let request = post(server.url("https", "/login")).header("x-vault-namespace", "team-a").unwrap();
    fetch(&authority, options(), request).await.unwrap();
    let seen = &server.requests()[0];
    assert!(seen.starts_with(&format!("POST /login?q={CANARY} HTTP/1.1\r\n")), "{seen}");
    for part in ["content-type: text/plain\r\n", "content-length: 8\r\n", "x-vault-namespace: team-a\r\n"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert!(seen.ends_with(&format!("\r\n\r\n{CANARY}")), "{seen}");
    // The client does not decompress, so it must not accept compression.
    assert!(!seen.contains("accept-encoding") && !seen.contains("cookie"), "{seen}");
}

#[tokio::test]
async fn a_compressed_body_stays_as_it_is() {
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nbomb";
    assert_eq!(text(&result_of(move |_| vec![send(head)]).await.unwrap()), "bomb");
}

#[tokio::test]
async fn every_status_is_returned_and_has_its_kind_of_failure() {
    for (status, kind) in [
        (400, Malformed),
        (401, Denied),
        (403, Denied),
        (404, NotFound),
        (407, Denied),
        (408, Unavailable),
        (418, Malformed),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (599, Unavailable),
        (304, Malformed),
    ] {
        let answer = format!(
            "HTTP/1.1 {status} {CANARY}\r\nretry-after: 7\r\ncontent-length: {}\r\n\r\n{}",
            if status == 304 { 0 } else { 8 },
            if status == 304 { "" } else { CANARY }
        );
        let response = result_of(move |_| vec![send(&answer)]).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.retry_after(), Some(Duration::from_secs(7)));
        let error = failed(Err::<(), _>(response.failure("cannot read `kv/web`")), kind, &status.to_string());
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        assert!(error.message.starts_with("cannot read `kv/web`: https://127.0.0.1:"), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_stops_sending_exceeds_the_idle_limit() {
    for (before, part) in [
        ("", "no answer within 700ms"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "no answer within 700ms"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "the answer stopped"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart", "the answer stopped"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n", "the answer stopped"),
    ] {
        let start = Instant::now();
        failed(result_with(impatient(), move |_| vec![send(before), Step::Wait(LONG)]).await, Unavailable, part);
        assert!(start.elapsed() < Duration::from_secs(5), "{before:?}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_slow_server_exceeds_the_total_limit() {
    let drips = || (0..100).flat_map(|_| [send("x"), Step::Wait(Duration::from_millis(100))]);
    let start = Instant::now();
    let in_the_body = move |_: &str| {
        std::iter::once(send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")).chain(drips()).collect::<Vec<_>>()
    };
    failed(result_with(impatient(), in_the_body).await, Unavailable, "no complete answer within 2s");
    assert!(start.elapsed() < Duration::from_secs(5));
    // Until the headers are complete, the time counts as waiting for the response.
    let in_the_head = move |_: &str| std::iter::once(send("HTTP/1.1 200 OK\r\n")).chain(drips()).collect::<Vec<_>>();
    failed(result_with(impatient(), in_the_head).await, Unavailable, "no answer within 700ms");
}

#[tokio::test]
async fn a_connection_that_ends_early_is_unavailable() {
    const LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";
    const CHUNK: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\npart";
    for before in ["", "HTTP/1.1 20", LENGTH, CHUNKED, CHUNK] {
        for ending in [|| Step::Close, || Step::Cut, || Step::Reset] {
            let result = result_of(move |_| vec![send(before), ending()]).await;
            let error = failed(result, Unavailable, "");
            assert!(error.message.contains("early") || error.message.contains("connection"), "{before:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn without_a_length_only_the_end_of_tls_ends_a_body() {
    const NO_LENGTH: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nwhole";
    assert_eq!(text(&result_of(|_| vec![send(NO_LENGTH), Step::Close]).await.unwrap()), "whole");
    failed(result_of(|_| vec![send(NO_LENGTH), Step::Cut]).await, Unavailable, "the answer ended early");
    let plain = Server::start(None, |_| vec![send(NO_LENGTH), Step::Close]).await;
    let result = fetch(&Authority::new(), options(), get(plain.url("http", "/"))).await;
    failed(result, Malformed, "has no length");
}

#[tokio::test]
async fn a_response_that_is_not_http_is_malformed() {
    for answer in [
        "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
        "HTTP/1.1 abc OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000)),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)),
    ] {
        failed(result_of(move |_| vec![send(&answer), Step::Close]).await, Malformed, "not HTTP/1.1");
    }
    let plain = Server::start(None, |_| vec![send("\x15\x03\x01\0\x02\x02\x16"), Step::Close]).await;
    let error = failed(
        fetch(&Authority::new(), options(), get(plain.url("http", "/"))).await,
        Malformed,
        "the answer is not HTTP/1.1",
    );
    assert_eq!(error.hint.as_deref(), Some("if that port speaks TLS, the address starts with `https://`"));
    let clear = Server::start(None, |_| vec![send("HTTP/1.0 400 Bad Request\r\n\r\nno TLS"), Step::Close]).await;
    let result = fetch(&Authority::new(), options(), get(clear.url("http", "/"))).await;
    let error = failed(result, Untrusted, "it answered 400 to plain HTTP, as a port for TLS does");
    assert_eq!(error.hint.as_deref(), Some("if that port speaks TLS, the address starts with `https://`"));
    let bad_chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    failed(result_of(move |_| vec![send(bad_chunk), Step::Close]).await, Malformed, "body is not HTTP/1.1");
}

#[tokio::test]
async fn a_response_is_read_up_to_the_size_limit() {
    let limit = |response_limit| Options { response_limit, ..options() };
    assert_eq!(text(&result_with(limit(4), |_| ok("four")).await.unwrap()), "four");
    failed(result_with(limit(3), |_| ok("four")).await, Malformed, "larger than 3 bytes");
    let huge = "HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n";
    failed(result_of(move |_| vec![send(huge), Step::Wait(LONG)]).await, Malformed, "larger than 8388608 bytes");
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let overflow = move |_: &str| vec![send(chunk), send("5\r\nabcde\r\n"), Step::Wait(LONG)];
    failed(result_with(limit(4), overflow).await, Malformed, "larger than 4 bytes");
}

#[tokio::test]
async fn an_endless_body_is_refused_at_the_limit() {
    // Chunks of 64 KiB, so that the server can count how much the client has read.
    let chunk: &'static [u8] = Vec::leak([b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat());
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let authority = Authority::new();
    let script = move |_: &str| vec![send(head), Step::Flood(chunk)];
    let server = Server::start(Some(authority.server(&["127.0.0.1"])), script).await;
    let options = Options { total_timeout: LONG, response_limit: 1 << 20, ..options() };
    let result = fetch(&authority, options, get(server.url("https", "/"))).await;
    failed(result, Malformed, "larger than 1048576 bytes");
    // The other bytes are in the sockets' buffers.
    let sent = *server.sent.lock().unwrap();
    assert!(sent < 16 << 20, "{sent} bytes were taken");
}

#[tokio::test]
async fn a_closed_port_is_unavailable() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("https://{closed}/")).unwrap();
    failed(fetch(&Authority::new(), options(), get(url)).await, Unavailable, "connection refused");
}

#[tokio::test]
async fn a_unix_socket_is_used_without_tls() {
    let path = std::env::temp_dir().join(format!("handfast-http-{}.sock", std::process::id()));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagent").await;
    });
    let address = Address::parse(&format!("unix://{}", path.display()), Plaintext::Local).unwrap();
    let options = || Options { unix_socket: address.unix_socket.clone(), ..options() };
    let result = fetch(&Authority::new(), options(), get(address.url.clone())).await;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(text(&result.unwrap()), "agent");
    let gone = fetch(&Authority::new(), options(), get(address.url.clone())).await;
    failed(gone, Unavailable, &format!("cannot ask unix://{}: there is no such socket", path.display()));
}

#[tokio::test]
async fn an_unencrypted_address_is_refused_before_anything_is_sent() {
    for (url, kind) in
        [("http://192.0.2.1/", Untrusted), ("ftp://127.0.0.1/", Untrusted), ("http://a@127.0.0.1/", Malformed)]
    {
        let result = fetch(&Authority::new(), options(), get(Url::parse(url).unwrap())).await;
        failed(result, kind, "");
    }
}

#[tokio::test]
async fn a_dropped_request_ends_its_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let client = Client::new(Options::default(), &World::default().context()).unwrap();
    let request = client.send(Request::new(Method::GET, url));
    let (mut stream, _) = tokio::select! {
        _ = request => panic!("there is no answer"),
        accepted = async {
            let (mut stream, from) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            (stream, from)
        } => accepted,
    };
    let end = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut [0; 1])).await;
    assert_eq!(end.expect("the connection should end").unwrap(), 0);
}

#[tokio::test]
async fn head_and_empty_answers_need_no_body() {
    let authority = Authority::new();
    let script = |request: &str| {
        vec![send(match request.starts_with("HEAD") {
            true => "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            false => "HTTP/1.1 204 No Content\r\n\r\n",
        })]
    };
    let server = Server::start(None, script).await;
    for method in [Method::HEAD, Method::DELETE] {
        let request = Request::new(method, server.url("http", "/"));
        assert!(fetch(&authority, options(), request).await.unwrap().body().is_empty());
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_an_error() {
    let token = SecretValue::from(format!("{CANARY}\n").into_bytes());
    let url = Url::parse("https://vault.internal").unwrap();
    failed(Request::get(url).secret_header("x-vault-token", token), ErrorKind::Denied, "x-vault-token");
}
