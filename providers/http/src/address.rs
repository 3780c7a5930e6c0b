//! Where a request may go: what an address is, and which addresses may be spoken to in clear text.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use handfast_core::Complaint;
use reqwest::Url;

/// Where a store is: what a provider's `address` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The URL that requests are below. For a Unix socket it is `http://localhost/`.
    pub url: Url,
    /// The Unix socket to connect to instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
}

/// Where `http://` is allowed. Loopback and Unix sockets always are: what they carry does not leave the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Plaintext {
    /// Nowhere else.
    #[default]
    Local,
    /// Also to link-local addresses and to AWS' IPv6 ones: the clouds' metadata services speak nothing else.
    Metadata,
    /// Everywhere (`danger_plaintext = true`): whoever is on the way reads every secret.
    Anywhere,
}

/// How far away a host is, as its name or number tells without asking anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    /// This machine.
    Loopback,
    /// This machine's link, or its cloud's metadata service.
    Link,
    /// Anything else.
    Far,
}

impl Address {
    /// Reads `https://…`, `http://…` or `unix:///path`. The complaint never repeats a user name or a password.
    pub fn parse(text: &str, plaintext: Plaintext) -> Result<Self, Complaint> {
        const EXPECTED: &str = "an address is `https://host`, `https://host:port` or `unix:///path/of/socket`";
        // No tables of Unicode here: Cargo.toml.
        const PUNYCODE: &str = "a host's name beyond ASCII is written in Punycode, as `xn--…`";
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') || path.contains('\0') {
                return Err(Complaint::new("a Unix socket's address has no absolute path").hint(EXPECTED));
            }
            // `sun_path` has 108 bytes, the last of them zero.
            if path.len() > 107 {
                let message = format!("a Unix socket's path has at most 107 bytes, and this one {}", path.len());
                return Err(Complaint::new(message).hint("move the socket, or reach it through a shorter link"));
            }
            // A constant, but parsed here so that no `expect` is needed.
            let url =
                Url::parse("http://localhost/").map_err(|error| Complaint::new(error.to_string()).hint(EXPECTED))?;
            return Ok(Self { url, unix_socket: Some(path.into()) });
        }
        let url = Url::parse(text).map_err(|error| {
            let hint = if text.is_ascii() { EXPECTED } else { PUNYCODE };
            Complaint::new(format!("the address is not a URL: {error}")).hint(hint)
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            let message = format!("the address of {} has a user name or a password in it", origin(&url));
            return Err(
                Complaint::new(message).hint("write the address without it: credentials have keys of their own")
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            let message = format!("the address of {} has a `?` or a `#` in it", origin(&url));
            return Err(Complaint::new(message).hint(EXPECTED));
        }
        allow(&url, plaintext).map_err(|message| {
            let is_clear = url.scheme() == "http" && plaintext == Plaintext::Local;
            Complaint::new(message).hint(if is_clear { CLEAR } else { EXPECTED })
        })?;
        Ok(Self { url, unix_socket: None })
    }

    /// Whether it leads to this machine alone.
    pub fn is_local(&self) -> bool {
        self.unix_socket.is_some() || distance(self.url.host_str().unwrap_or_default()) == Distance::Loopback
    }
}

const CLEAR: &str =
    "write `https://`; or, where nobody else is on the way, set `danger_plaintext = true` in the provider's table";

/// Whether a request may go to a URL at all, given where clear text is allowed.
pub(crate) fn allow(url: &Url, plaintext: Plaintext) -> Result<(), String> {
    match (url.scheme(), distance(url.host_str().unwrap_or_default()), plaintext) {
        ("https", ..)
        | ("http", Distance::Loopback, _)
        | ("http", Distance::Link, Plaintext::Metadata)
        | ("http", _, Plaintext::Anywhere) => Ok(()),
        ("http", ..) => Err(format!("{} is not encrypted, and not on this machine", origin(url))),
        _ => Err("the address is neither `https://` nor `http://`".into()),
    }
}

/// A URL's scheme, host and port, for a message: nothing else of it is ever shown. Cut, because a redirect's may be any
/// length.
pub(crate) fn origin(url: &Url) -> String {
    const LONGEST: usize = 300;
    url.origin().ascii_serialization().chars().take(LONGEST).collect()
}

/// How far away the host of a URL is.
///
/// `localhost` and the names below it count as loopback (RFC 6761): `resolve` sees to it that they are.
pub(crate) fn distance(host: &str) -> Distance {
    let name = host.strip_suffix('.').unwrap_or(host);
    if name == "localhost" || name.ends_with(".localhost") {
        return Distance::Loopback;
    }
    match ip(host) {
        Some(ip) if ip.is_loopback() => Distance::Loopback,
        Some(IpAddr::V4(ip)) if ip.is_link_local() => Distance::Link,
        Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() || is_metadata(ip) => Distance::Link,
        _ => Distance::Far,
    }
}

/// A host that is a number. A mapped IPv4 address counts as the IPv4 address that it leads to.
pub(crate) fn ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// AWS' own prefix for instance metadata, container credentials and the like.
fn is_metadata(ip: Ipv6Addr) -> bool {
    ip.segments()[..2] == [0xfd00, 0x0ec2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_is_for_this_machine_only() {
        for text in [
            "http://127.0.0.1:8200",
            "http://127.9.9.9",
            "http://2130706433",
            "http://[::1]:8200/",
            "http://[::ffff:127.0.0.1]",
            "http://localhost",
            "http://LOCALHOST.:1",
            "http://vault.localhost",
            "https://vault.internal",
        ] {
            assert!(Address::parse(text, Plaintext::Local).is_ok(), "{text}");
        }
        for text in [
            "http://vault.internal",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://169.254.169.254",
            "http://localhost.example",
            "http://notlocalhost",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "data:,x",
            "vault.internal:8200",
            "https://",
            "",
            "unix://relative",
            "unix://",
            "unix:///a\0b",
            &format!("unix:///{}", "x".repeat(107)),
            "https://a?token=b",
            "https://a/#b",
        ] {
            assert!(Address::parse(text, Plaintext::Local).is_err(), "{text:?}");
        }
    }

    #[test]
    fn metadata_services_are_allowed_where_asked_for() {
        for text in
            ["http://169.254.169.254/latest", "http://169.254.170.2", "http://[fe80::1]", "http://[fd00:ec2::254]/"]
        {
            assert!(Address::parse(text, Plaintext::Local).is_err(), "{text}");
            assert!(Address::parse(text, Plaintext::Metadata).is_ok(), "{text}");
        }
        for text in ["http://10.0.0.1", "http://[fd00:ec3::254]", "http://vault.internal"] {
            assert!(Address::parse(text, Plaintext::Metadata).is_err(), "{text}");
            assert!(Address::parse(text, Plaintext::Anywhere).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_host_beyond_ascii_is_written_in_punycode() {
        let complaint = Address::parse("https://bücher.example", Plaintext::Local).unwrap_err();
        assert_eq!(complaint.message, "the address is not a URL: invalid international domain name");
        assert_eq!(complaint.hint.unwrap(), "a host's name beyond ASCII is written in Punycode, as `xn--…`");
        let address = Address::parse("https://XN--bcher-kva.example", Plaintext::Local).unwrap();
        assert_eq!(address.url.as_str(), "https://xn--bcher-kva.example/");
    }

    #[test]
    fn a_refused_address_shows_no_credential() {
        for text in ["https://user:pa55@vault.internal", "https://pa55@vault", "https://x:pa55@", "http://pa55@h:99999"]
        {
            let complaint = Address::parse(text, Plaintext::Anywhere).unwrap_err();
            assert!(!format!("{complaint:?}").contains("pa55"), "{complaint:?}");
        }
    }

    #[test]
    fn a_unix_socket() {
        let address = Address::parse("unix:///run/agent.sock", Plaintext::Local).unwrap();
        assert_eq!(address.unix_socket, Some("/run/agent.sock".into()));
        assert_eq!(address.url.as_str(), "http://localhost/");
        assert!(Address::parse(&format!("unix:///{}", "x".repeat(106)), Plaintext::Local).is_ok());
    }
}
