//! Notifies an app of a change by an empty POST to an endpoint of its own.
//!
//! The client is hyper alone: it has no name resolution, no proxies and no redirects, so a request goes only to the planned address.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::reason;
use crate::plan::Endpoint;

/// How long to wait for an answer. The next try begins no earlier, so that an app that is still starting gets time.
const PATIENCE: Duration = Duration::from_secs(5);

const TRIES: u32 = 3;

/// The most that is read of an answer's head.
const HEAD: usize = 16 << 10;

/// The posts that are running: one for each endpoint at a time.
#[derive(Default)]
pub struct Posts {
    running: JoinSet<(Endpoint, bool)>,
    under_way: Vec<UnderWay>,
}

struct UnderWay {
    endpoint: Endpoint,
    /// Whether another change came meanwhile: then another post follows.
    again: bool,
}

impl Posts {
    /// Begins a post, or another one after the post that is running.
    pub fn begin(&mut self, endpoint: &Endpoint) {
        match self.under_way.iter_mut().find(|other| other.endpoint == *endpoint) {
            Some(other) => other.again = true,
            None => {
                self.under_way.push(UnderWay { endpoint: endpoint.clone(), again: false });
                let endpoint = endpoint.clone();
                self.running.spawn_local(async {
                    let is_done = post(&endpoint).await;
                    (endpoint, is_done)
                });
            }
        }
    }

    /// The result of the next post that ends; `None` if none is running.
    pub async fn next(&mut self) -> Option<(Endpoint, bool)> {
        let (ended, is_done) = self.running.join_next().await?.ok()?;
        let at = self.under_way.iter().position(|other| other.endpoint == ended)?;
        if self.under_way.swap_remove(at).again {
            self.begin(&ended);
        }
        Some((ended, is_done))
    }
}

/// Posts until the app accepts the post, three times at most. Returns whether the app has accepted it.
async fn post(endpoint: &Endpoint) -> bool {
    let shown = endpoint.shown();
    for attempt in 1..=TRIES {
        let begun = Instant::now();
        let sent = timeout(PATIENCE, send(endpoint)).await;
        let why = match sent.unwrap_or_else(|_| Err("no answer in time".into())) {
            Ok(status) if status.is_success() => {
                tracing::info!(target: "handfast", "posted the change to `{shown}`: {status}");
                return true;
            }
            Ok(status) if status.is_redirection() => format!("answered {status}, and no redirect is followed"),
            Ok(status) => format!("answered {status}"),
            Err(why) => why,
        };
        if attempt == TRIES {
            tracing::error!(target: "handfast", "cannot post the change to `{shown}`, {TRIES} times: {why}");
            return false;
        }
        tracing::warn!(target: "handfast", "cannot post the change to `{shown}`, try {attempt} of {TRIES}: {why}");
        sleep_until(begun + PATIENCE).await;
    }
    false
}

/// One try. Of the app's answer, only the status is read.
async fn send(endpoint: &Endpoint) -> Result<StatusCode, String> {
    let request = Request::post(endpoint.target())
        .header(HOST, &endpoint.host)
        .header(USER_AGENT, concat!("handfast/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_LENGTH, 0)
        .header(CONNECTION, "close")
        .body(String::new())
        .map_err(|_| "not a request")?;
    let stream = TcpStream::connect(&endpoint.addresses[..]).await.map_err(|error: io::Error| reason(error))?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await.map_err(describe)?;
    // The connection's task ends when this set is dropped.
    let mut driver = JoinSet::new();
    driver.spawn_local(connection);
    sender.send_request(request).await.map(|answer| answer.status()).map_err(describe)
}

/// Describes hyper's error without its text, which may quote the answer.
fn describe(error: hyper::Error) -> String {
    match error {
        error if error.is_parse() => "the answer is not HTTP",
        error if error.is_incomplete_message() || error.is_closed() => "no answer before the end of the connection",
        _ => "the connection broke",
    }
    .into()
}
