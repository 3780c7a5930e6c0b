//! HTTP/2, if the option is set: one connection for all requests that start at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use handfast_core::ErrorKind::{Malformed, Unavailable, Untrusted};
use handfast_core::ProviderError;
use handfast_http::{Client, Options, Response, ServerName, Url};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::*;

pub fn shared() -> Options {
    Options { http2: true, ..options() }
}

pub fn speaking(mut tls: ServerConfig, protocols: &[&str]) -> ServerConfig {
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    tls
}

/// How the server responds to a request.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Answer,
    /// Neither responds nor reads any more, as if the connection were broken.
    Freeze,
    Reset(h2::Reason),
    /// Closes the connection without processing the request.
    GoAway,
    /// Announces a longer body than it sends.
    Short,
}

/// A server that supports HTTP/2. A test chooses how it responds to the requests of each connection.
struct Multiplexing {
    url: Url,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<http::request::Parts>>>,
}

impl Multiplexing {
    /// `way` gets the connection's number, from 0.
    async fn start(authority: &Authority, way: impl Fn(usize) -> Way + Copy + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("https://{}/v1/x", listener.local_addr().unwrap())).unwrap();
        let server = Self { url, connections: Arc::default(), heads: Arc::default() };
        let tls = speaking(authority.server(&["127.0.0.1", "vault.internal"]), &["h2", "http/1.1"]);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let (connections, heads) = (server.connections.clone(), server.heads.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let way = way(connections.fetch_add(1, Ordering::Relaxed));
                let (acceptor, heads) = (acceptor.clone(), heads.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        heads.lock().unwrap().push(request.into_parts().0);
                        if way == Way::Freeze {
                            tokio::time::sleep(Duration::from_secs(60)).await;
                        }
                        if way == Way::GoAway {
                            connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                        }
                        answer(way, respond).await;
                    }
                });
            }
        });
        server
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn answer(way: Way, mut respond: h2::server::SendResponse<Bytes>) {
    let body = Bytes::from_static(b"found");
    match way {
        Way::Reset(reason) => respond.send_reset(reason),
        Way::Answer | Way::Freeze | Way::GoAway => {
            // Requests overlap only if a response takes some time.
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Ok(mut sending) = respond.send_response(http::Response::new(()), false) {
                let _ = sending.send_data(body, true);
            }
        }
        Way::Short => {
            let head = http::Response::builder().header("content-length", 9).body(()).unwrap();
            let _ = respond.send_response(head, false).unwrap().send_data(body, true);
        }
    }
}

/// The results of `count` requests that start at the same time.
async fn at_once(client: &Client, url: &Url, count: usize) -> Vec<Result<Response, ProviderError>> {
    let mut waiting: Vec<_> = (0..count).map(|_| Box::pin(client.send(get(url.clone())))).collect();
    let mut results = Vec::new();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(result) => {
                results.push(result);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    results
}

fn client(authority: &Authority, options: Options) -> Client {
    Client::new(options, &World::trusting(authority).context()).unwrap()
}

#[tokio::test]
async fn requests_at_the_same_time_share_one_connection() {
    let authority = Authority::new();
    let server = Multiplexing::start(&authority, |_| Way::Answer).await;
    let client = client(&authority, shared());
    for _ in 0..2 {
        for result in at_once(&client, &server.url, 40).await {
            assert_eq!(text(&result.unwrap()), "found");
        }
    }
    assert_eq!(server.connections(), 1);
    let heads = server.heads.lock().unwrap();
    assert_eq!(heads.len(), 80);
    assert!(heads.iter().all(|head| head.version == http::Version::HTTP_2 && head.headers["x-vault-token"] == CANARY));
}

#[tokio::test]
async fn a_server_without_http2_gets_http_1_1() {
    const WAIT: Duration = Duration::from_millis(500);
    let authority = Authority::new();
    for tls in [authority.server(&["127.0.0.1"]), speaking(authority.server(&["127.0.0.1"]), &["http/1.1"])] {
        let server =
            Server::start(Some(tls), |_| [vec![Step::Wait(WAIT)], ok("found")].into_iter().flatten().collect()).await;
        let client = client(&authority, shared());
        let url = server.url("https", "/");
        let start = Instant::now();
        assert!(at_once(&client, &url, 10).await.into_iter().all(|result| result.is_ok()));
        assert_eq!(server.connections(), 10);
        assert!(start.elapsed() < WAIT * 5, "one after the other: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn http2_is_not_offered_without_the_option_or_with_a_server_name() {
    let authority = Authority::new();
    let named = ServerName { host: "127.0.0.1".into(), name: "vault.internal".into() };
    for options in [options(), Options { server_name: Some(named), ..shared() }] {
        let tls = speaking(authority.server(&["127.0.0.1", "vault.internal"]), &["h2", "http/1.1"]);
        let server = Server::start(Some(tls), |_| ok("found")).await;
        assert_eq!(text(&fetch(&authority, options, get(server.url("https", "/"))).await.unwrap()), "found");
        assert!(server.requests()[0].contains(" HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn a_failed_first_connection_does_not_delay_the_other_requests() {
    let authority = Authority::new();
    let stranger = Multiplexing::start(&Authority::new(), |_| Way::Answer).await;
    let client = client(&authority, shared());
    let start = Instant::now();
    for result in at_once(&client, &stranger.url, 8).await {
        failed(result, Untrusted, "an unknown authority");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // The first connection is dropped while it is established.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/", silent.local_addr().unwrap())).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), client.send(get(url))).await.is_err());
    let server = Multiplexing::start(&authority, |_| Way::Answer).await;
    assert!(at_once(&client, &server.url, 8).await.into_iter().all(|result| result.is_ok()));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_request_without_a_response_is_not_retried() {
    let authority = Authority::new();
    for (way, kind, part) in [
        (Way::Reset(h2::Reason::REFUSED_STREAM), Unavailable, "it ended the request with REFUSED_STREAM"),
        (Way::Reset(h2::Reason::INTERNAL_ERROR), Unavailable, "it ended the request with INTERNAL_ERROR"),
        (Way::Reset(h2::Reason::PROTOCOL_ERROR), Unavailable, "it ended the request with PROTOCOL_ERROR"),
        (Way::Reset(h2::Reason::HTTP_1_1_REQUIRED), Malformed, "it wants HTTP/1.1"),
        // The connection's end may arrive before the frame that announces it.
        (Way::GoAway, Unavailable, ""),
        (Way::Short, Malformed, "the answer is not HTTP/2"),
    ] {
        let server = Multiplexing::start(&authority, move |_| way).await;
        failed(fetch(&authority, shared(), get(server.url.clone())).await, kind, part);
        assert_eq!(server.heads.lock().unwrap().len(), 1, "{part}");
    }
}

#[tokio::test]
async fn the_next_request_does_not_use_a_dead_connection() {
    let authority = Authority::new();
    let server = Multiplexing::start(&authority, |number| if number == 0 { Way::Freeze } else { Way::Answer }).await;
    let client = client(&authority, Options { http2: true, ..impatient() });
    failed(client.send(get(server.url.clone())).await, Unavailable, "no longer shows a sign of life");
    assert_eq!(text(&client.send(get(server.url.clone())).await.unwrap()), "found");
    assert_eq!(server.connections(), 2);
}
