//! Resolves host names to addresses.

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

/// The system's resolver, with two additions.
///
/// - `localhost` is always this machine, whatever a name server returns, because unencrypted requests are allowed to it.
/// - A name that is not found with the search list is looked up again without it. glibc does this itself. musl stops at the first
///   suffix whose server fails, or returns no address for the name; and in pods every name goes through a search list (`options
///   ndots:5`). The search list still comes first, as in the system's resolver: a service `vault.dev` in the cluster must not
///   become a host on the internet.
///
/// A look-up runs on its own thread, which cannot be stopped. It is abandoned after a time limit, so that the error is about the
/// name servers. The thread ends with the system's look-up (within ten seconds by default); nothing waits for it.
pub(crate) struct Resolver {
    pub(crate) time_limit: Duration,
    /// A name to connect to another host for.
    pub(crate) alias: Option<Arc<Alias>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (time_limit, alias) = (self.time_limit, self.alias.clone());
        Box::pin(async move {
            let host = match alias.as_ref().and_then(|alias| alias.host_of(name.as_str())) {
                Some(Ok(ip)) => return Ok(Box::new(iter::once(SocketAddr::new(ip, 0))) as Addrs),
                Some(Err(host)) => host,
                None => name.as_str(),
            };
            let addresses = tokio::time::timeout(time_limit, addresses(host)).await.unwrap_or_else(|_| {
                Err(io::Error::other(format!("no name server gave an answer within {time_limit:?}")))
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

/// Looks up a name on its own thread. tokio's threads panic if the system allows no more threads, and they delay the runtime's
/// end.
async fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    let (answer, answered) = oneshot::channel();
    let name = name.to_owned();
    thread::Builder::new()
        .name("look-up".into())
        .spawn(move || answer.send((name.as_str(), 0).to_socket_addrs().map(Iterator::collect)))
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    answered.await.unwrap_or_else(|_| Err(io::Error::other("the look-up was given up")))
}
