//! A store that returns one secret for each request.

use std::cell::RefCell;
use std::rc::Rc;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::connection::Server;
use crate::{Result, deliver};

/// The same number of connections as handfast uses.
const CONNECTIONS: usize = 32;

/// The form of the store's requests and answers.
pub trait Store: 'static {
    fn request(&self, host: &str, name: &str) -> Result<Request<Full<Bytes>>>;
    fn value<'a>(&self, answer: &'a Value) -> Option<&'a str>;
}

struct Fetch<S> {
    server: Server,
    store: S,
    names: RefCell<Vec<String>>,
}

pub async fn fetch(server: Server, store: impl Store, names: Vec<String>) -> Result<()> {
    let connections = names.len().min(CONNECTIONS);
    let fetch = Rc::new(Fetch { server, store, names: names.into() });
    let mut running = JoinSet::new();
    for _ in 0..connections {
        let fetch = fetch.clone();
        running.spawn_local(async move { fetch.some().await });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

impl<S: Store> Fetch<S> {
    /// Sends the requests of one connection.
    async fn some(&self) -> Result<()> {
        let mut connection = self.server.connect().await?;
        loop {
            let Some(name) = self.names.borrow_mut().pop() else { return Ok(()) };
            let answer = connection.ask(self.store.request(&self.server.address, &name)?).await?;
            deliver(self.store.value(&answer).ok_or("no value")?)?;
        }
    }
}
