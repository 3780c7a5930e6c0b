//! Where a change is posted to: an endpoint of an app on this machine.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use handfast_core::{Complaint, excerpt};
use http::Uri;

const DEFAULT_PORT: u16 = 80;

const HINT: &str = "write `post:http://127.0.0.1:PORT/PATH`: the host is in 127.0.0.0/8, or [::1], or localhost";

/// An `http://` URL of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Tried in this order. No name is looked up: `localhost` is this machine by definition (RFC 6761).
    pub addresses: Vec<SocketAddr>,
    /// The host and the port, as they are written.
    pub host: String,
    path: String,
    query: Option<String>,
}

impl Endpoint {
    /// Reads what follows `post:`. A complaint never repeats a user name, a password, a path or a query.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        let fail = |what: &str| Complaint::new(format!("`on_change` posts to {what}")).hint(HINT);
        let uri: Uri = text.parse().map_err(|_| fail("what is not a URL"))?;
        let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("http")) else {
            return Err(fail("a URL that is not `http://`"));
        };
        if authority.as_str().contains('@') {
            return Err(fail("a URL with a user name or a password in it"));
        }
        if text.contains('#') {
            return Err(fail("a URL with a `#` in it, which is never sent"));
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => Some(DEFAULT_PORT),
            _ => authority.port_u16().filter(|port| *port != 0),
        };
        let Some(port) = port else { return Err(fail("a URL with a port that does not exist")) };
        let Some(addresses) = loopback(authority.host()) else {
            let host = excerpt(authority.host());
            return Err(fail(&format!("`{host}`, which is not certain to be this machine")));
        };
        Ok(Self {
            addresses: addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect(),
            host: authority.as_str().to_owned(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// What is asked for: the path and the query.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The URL as messages show it: without the query, which may hold a credential.
    pub fn shown(&self) -> String {
        format!("http://{}{}", self.host, self.path)
    }
}

/// The addresses of a host, if it is this machine whatever anybody says.
fn loopback(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let address: IpAddr = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
        None => host.parse::<Ipv4Addr>().ok()?.into(),
    };
    address.is_loopback().then(|| vec![address])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_posted_to() {
        let address = |text: &str| Endpoint::parse(text).map(|endpoint| endpoint.addresses[0].to_string());
        for (text, expected) in [
            ("http://127.0.0.1:8080/actuator/refresh", "127.0.0.1:8080"),
            ("http://127.1.2.3/", "127.1.2.3:80"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("http://[::1]:9/x", "[::1]:9"),
            ("http://localhost:8080/x?y=z", "127.0.0.1:8080"),
            ("HTTP://LOCALHOST:8080/", "127.0.0.1:8080"),
        ] {
            assert_eq!(address(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(Endpoint::parse("http://localhost:1/").expect("right").addresses.len(), 2);
        for text in [
            "",
            "/x",
            "127.0.0.1:8080",
            "127.0.0.1:8080/x",
            "https://127.0.0.1:8080/",
            "unix:///x",
            "http:///x",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:65536/",
            "http://127.0.0.1:/",
            "http://127.0.0.1:x/",
            "http://127.0.0.1/#x",
            "http://127.0.0.1/ x",
            "http://127.0.0.1/\r\nX: y",
            "http://user:hunter2@127.0.0.1/",
            "http://127.0.0.1@192.0.2.1/",
            "http://@127.0.0.1/",
            "http://192.0.2.1/",
            "http://0.0.0.0/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.0.0.1.example.org/",
            "http://localhost.example.org/",
            "http://app.localhost/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::1/",
            "http://::1/",
        ] {
            let complaint = Endpoint::parse(text).expect_err(text);
            assert!(complaint.message.starts_with("`on_change` posts to "), "{text}: {}", complaint.message);
            assert!(!complaint.message.contains("hunter2"), "{text}: {}", complaint.message);
        }
    }

    #[test]
    fn a_query_is_sent_and_not_shown() {
        let endpoint = Endpoint::parse("http://127.0.0.1:80/a/b?token=x").expect("right");
        assert_eq!(endpoint.target(), "/a/b?token=x");
        assert_eq!((endpoint.shown().as_str(), endpoint.host.as_str()), ("http://127.0.0.1:80/a/b", "127.0.0.1:80"));
        assert_eq!(Endpoint::parse("http://[::1]:80").expect("right").target(), "/");
    }
}
