//! Names to addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::{Distance, distance};

/// The system's resolver, with two rules of our own.
///
/// - `localhost` is this machine, whatever a name server says: clear text is allowed there.
/// - A name that the search list does not give is looked up once more as it stands. glibc does that by itself; musl gives
///   up at the first suffix whose server fails or knows the name without an address, and pods have such a list
///   (`options ndots:5`), so that every outside name goes through it. The list still comes first, as the system has it: a
///   service `vault.dev` in the cluster must not become a host on the internet.
pub(crate) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = addresses(name.as_str()).await?;
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

async fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.collect())
}
