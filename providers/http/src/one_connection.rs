//! One HTTP/2 connection for requests that start at once.
//!
//! The HTTP library opens a connection for each request that finds none, and learns only then that one would do for all: 32
//! requests at once make 32 TLS handshakes, most of all the processor time of a start. So the first goes ahead, and the
//! others wait for what it finds: with HTTP/2 they share its connection, else each opens its own.

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

/// What the first one found.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    /// Nothing yet.
    Nothing,
    /// A connection for all.
    Shared,
    /// A connection for itself, or none.
    NotShared,
}

/// Wraps what opens connections.
#[derive(Clone, Default)]
pub(crate) struct OneConnection(Arc<Mutex<Round>>);

#[derive(Default)]
struct Round {
    /// What the one that went ahead last has found. Closed where it was given up.
    ahead: Option<watch::Receiver<Found>>,
    /// The store speaks HTTP/1.1: nobody waits any more.
    in_vain: bool,
}

/// What opens connections, wrapped.
#[derive(Clone)]
pub(crate) struct Connector<C> {
    inner: C,
    rounds: OneConnection,
}

/// There is a shared connection by now. The library finds it before it comes to this error, but for the rare case that it is
/// gone again; nothing has been sent then, and the request is made once more.
#[derive(Debug)]
pub(crate) struct Superseded;

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another connection was made meanwhile")
    }
}

impl Error for Superseded {}

enum Turn {
    Ahead(watch::Sender<Found>),
    Behind(watch::Receiver<Found>),
    Alone,
}

impl OneConnection {
    fn turn(&self) -> Turn {
        let mut round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &round.ahead {
            _ if round.in_vain => Turn::Alone,
            // Of a closed one the last word counts no more: that connection may be gone.
            Some(ahead) if ahead.has_changed().is_ok() => Turn::Behind(ahead.clone()),
            _ => {
                let (found, ahead) = watch::channel(Found::Nothing);
                round.ahead = Some(ahead);
                Turn::Ahead(found)
            }
        }
    }

    fn end_waiting(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).in_vain = true;
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
        /// Longer than the library takes from the connection to those who wait for it.
        const SOON: Duration = Duration::from_millis(200);
        // The one that is ready is the one to be called (tower).
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let rounds = self.rounds.clone();
        let turn = rounds.turn();
        Box::pin(async move {
            let found = match turn {
                Turn::Alone => return inner.call(target).await,
                Turn::Ahead(found) => found,
                Turn::Behind(mut ahead) => {
                    let shared = ahead
                        .wait_for(|found| *found != Found::Nothing)
                        .await
                        .is_ok_and(|found| *found == Found::Shared);
                    if !shared {
                        return inner.call(target).await;
                    }
                    tokio::time::sleep(SOON).await;
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
