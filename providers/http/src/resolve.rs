//! Names to addresses.

use std::io;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use crate::address::{Distance, distance};
use crate::server_name::Alias;

/// The system's resolver, with two rules of our own.
///
/// - `localhost` is this machine, whatever a name server says: clear text is allowed there.
/// - A name that the search list does not give is looked up once more as it stands. glibc does that by itself; musl gives
///   up at the first suffix whose server fails or knows the name without an address, and pods have such a list
///   (`options ndots:5`), so that every outside name goes through it. The list still comes first, as the system has it: a
///   service `vault.dev` in the cluster must not become a host on the internet.
///
/// A look-up runs on a thread of its own, which cannot be stopped. It is given up after some time, so that the error names
/// the name servers; the thread ends when the system's resolver does (within ten seconds, as its defaults are), and nobody
/// waits for it.
pub(crate) struct Resolver {
    pub(crate) patience: Duration,
    /// A name that stands for another host.
    pub(crate) alias: Option<Arc<Alias>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (patience, alias) = (self.patience, self.alias.clone());
        Box::pin(async move {
            let host = match alias.as_ref().and_then(|alias| alias.host_of(name.as_str())) {
                Some(Ok(ip)) => return Ok(Box::new(iter::once(SocketAddr::new(ip, 0))) as Addrs),
                Some(Err(host)) => host,
                None => name.as_str(),
            };
            let addresses = tokio::time::timeout(patience, addresses(host)).await.unwrap_or_else(|_| {
                Err(io::Error::other(format!("no name server gave an answer within {patience:?}")))
            })?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

async fn addresses(name: &str) -> io::Result<Vec<SocketAddr>> {
    if distance(name) == Distance::Loopback {
        return Ok([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].map(|ip| (ip, 0).into()).to_vec());
    }
    match look_up(name).await {
        Err(_) if name.contains('.') && !name.ends_with('.') => look_up(&format!("{name}.")).await,
        answer => answer,
    }
}

/// Not by tokio's own threads: where the system has none left they panic, and they hold up the runtime's end.
async fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    let (answer, answered) = oneshot::channel();
    let name = name.to_owned();
    thread::Builder::new()
        .name("look-up".into())
        .spawn(move || answer.send((name.as_str(), 0).to_socket_addrs().map(Iterator::collect)))
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    answered.await.unwrap_or_else(|_| Err(io::Error::other("the look-up was given up")))
}
