//! `[watch] metrics`: serves the worker's counts at `/metrics`, by plain HTTP.
//!
//! Each connection is one request. A slow client delays only other clients.
#![forbid(unsafe_code)]

mod tally;

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use tally::Tally;

/// The content type of OpenMetrics (github.com/prometheus/OpenMetrics, 1.0.0).
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at a time; the kernel lets the next ones wait.
const MOST: usize = 16;

/// The most that is read of a request: the least that hyper takes.
const HEAD: usize = 8 << 10;

/// How long a client may take for its request and the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait where no connection can be taken, for want of descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// A listening socket.
pub struct Listener(net::TcpListener);

/// Listens at this address. No request is answered before [`serve`].
pub fn listen(address: net::SocketAddr) -> io::Result<Listener> {
    let listener = net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Listener(listener))
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Answers until it is dropped.
pub fn serve(listener: Listener, tally: Rc<RefCell<Tally>>) -> io::Result<impl Future<Output = ()>> {
    let listener = TcpListener::from_std(listener.0)?;
    Ok(accept_connections(listener, tally))
}

async fn accept_connections(listener: TcpListener, tally: Rc<RefCell<Tally>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MOST => match accepted {
                Ok((stream, _)) => drop(connections.spawn_local(serve_connection(stream, tally.clone()))),
                Err(error) => {
                    handfast_core::debug!("cannot take a connection for metrics: {}", crate::error::reason(error));
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

/// Serves one request. Its errors are the client's problem, and are not logged.
async fn serve_connection(stream: TcpStream, tally: Rc<RefCell<Tally>>) {
    let service = service_fn(|request| {
        let answer = answer(&request, &tally);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut server = http1::Builder::new();
    let connection = server.keep_alive(false).max_buf_size(HEAD).serve_connection(TokioIo::new(stream), service);
    drop(timeout(PATIENCE, connection).await);
}

fn answer<B>(request: &Request<B>, tally: &RefCell<Tally>) -> Response<String> {
    let mut response = Response::new(String::new());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if request.method() != Method::GET {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
        *response.body_mut() = tally.borrow().text();
    }
    response
}
