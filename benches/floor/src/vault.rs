//! Secrets of a KV 2 mount: a request each, on as many connections as handfast makes.

use std::cell::RefCell;
use std::rc::Rc;

use http_body_util::Full;
use hyper::Request;
use tokio::task::JoinSet;

use crate::connection::Server;
use crate::{Result, deliver};

/// As many connections as handfast makes.
const CONNECTIONS: usize = 32;

struct Vault {
    server: Server,
    token: String,
    paths: RefCell<Vec<String>>,
}

pub async fn fetch(server: Server, token: String, paths: Vec<String>) -> Result<()> {
    let connections = paths.len().min(CONNECTIONS);
    let vault = Rc::new(Vault { server, token, paths: paths.into() });
    let mut running = JoinSet::new();
    for _ in 0..connections {
        let vault = vault.clone();
        running.spawn_local(async move { vault.fetch_some().await });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

impl Vault {
    /// One connection's share of the paths.
    async fn fetch_some(&self) -> Result<()> {
        let mut connection = self.server.connect().await?;
        loop {
            let Some(path) = self.paths.borrow_mut().pop() else { return Ok(()) };
            let request = Request::get(format!("/v1/{path}"))
                .header("host", &self.server.address)
                .header("x-vault-token", &self.token)
                .body(Full::default())?;
            let answer = connection.ask(request).await?;
            deliver(answer["data"]["data"]["value"].as_str().ok_or("no value")?)?;
        }
    }
}
