//! One HTTP/2 connection for requests that start at the same time.
//!
//! The HTTP library opens a connection for each request that finds none. Only the TLS handshake shows that the server offers
//! HTTP/2, so that one connection is enough for all. 32 requests at the same time would make 32 handshakes, which would take most
//! of the processor time of a start. So one request connects first, and the others wait: with HTTP/2 they share its connection,
//! otherwise each opens its own.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::Connection;
use tokio::sync::watch;
use tower_layer::Layer;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// The result of the first connection.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    /// It is not established yet.
    Pending,
    /// All requests can share it.
    Shared,
    /// Only its own request can use it, or it failed.
    NotShared,
}

/// The layer that wraps the HTTP library's connector.
#[derive(Clone, Default)]
pub(crate) struct OneConnection(Arc<Mutex<Round>>);

#[derive(Default)]
struct Round {
    /// The result of the newest first connection. Closed as soon as its request has the result, or is dropped.
    first: Option<watch::Receiver<Found>>,
    /// The store uses HTTP/1.1, so no request waits any more.
    is_http1: bool,
}

/// The HTTP library's connector, wrapped.
#[derive(Clone)]
pub(crate) struct Connector<C> {
    inner: C,
    rounds: OneConnection,
}

/// The error of a waiting request: a shared connection exists by now. The library normally uses that connection before it handles
/// this error. If the connection has closed again, the client repeats the request, of which nothing has been sent.
#[derive(Debug)]
pub(crate) struct Superseded;

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another connection was made meanwhile")
    }
}

impl Error for Superseded {}

enum Role {
    /// Connects first, and sends the result to the others.
    First(watch::Sender<Found>),
    /// Waits for the result.
    Waiting(watch::Receiver<Found>),
    /// Connects on its own.
    Alone,
}

impl OneConnection {
    fn role(&self) -> Role {
        let mut round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &round.first {
            _ if round.is_http1 => Role::Alone,
            // A closed channel's result is no longer valid: the connection may have ended.
            Some(first) if first.has_changed().is_ok() => Role::Waiting(first.clone()),
            _ => {
                let (found, first) = watch::channel(Found::Pending);
                round.first = Some(first);
                Role::First(found)
            }
        }
    }

    fn end_waiting(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_http1 = true;
    }
}

impl<C> Layer<C> for OneConnection {
    type Service = Connector<C>;

    fn layer(&self, inner: C) -> Connector<C> {
        Connector { inner, rounds: self.clone() }
    }
}

impl<C, T> Service<T> for Connector<C>
where
    C: Service<T, Error = BoxError> + Clone + Send + 'static,
    C::Response: Connection + Send,
    C::Future: Send + 'static,
    T: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, target: T) -> Self::Future {
        /// Longer than the library needs to pass a new connection to the waiting requests.
        const HANDOVER: Duration = Duration::from_millis(200);
        // Tower requires to call the service that `poll_ready` reported as ready, not its clone.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let rounds = self.rounds.clone();
        let role = rounds.role();
        Box::pin(async move {
            let found = match role {
                Role::Alone => return inner.call(target).await,
                Role::First(found) => found,
                Role::Waiting(mut first) => {
                    let shared = first
                        .wait_for(|found| *found != Found::Pending)
                        .await
                        .is_ok_and(|found| *found == Found::Shared);
                    if !shared {
                        return inner.call(target).await;
                    }
                    tokio::time::sleep(HANDOVER).await;
                    return Err(Superseded.into());
                }
            };
            let connection = inner.call(target).await;
            let shared = match &connection {
                Ok(connection) if connection.connected().is_negotiated_h2() => Found::Shared,
                Ok(_) => {
                    rounds.end_waiting();
                    Found::NotShared
                }
                Err(_) => Found::NotShared,
            };
            found.send_replace(shared);
            connection
        })
    }
}
