//! The addresses of stores: their form, and to which of them requests may go unencrypted.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use handfast_core::Complaint;
use reqwest::Url;

/// The address of a store, as in a provider's key `address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The base of the URLs of all requests. For a Unix socket it is `http://localhost/`.
    pub url: Url,
    /// The Unix socket to connect to instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
}

/// The hosts for which `http://` is allowed, in addition to loopback and Unix sockets, whose traffic does not leave the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Plaintext {
    /// No other hosts.
    #[default]
    Local,
    /// Link-local addresses and AWS's IPv6 addresses, since the clouds' metadata services do not offer TLS.
    Metadata,
    /// All hosts (`danger_plaintext = true`): anybody on the network path can read every secret.
    Anywhere,
}

/// How far away a host is, according to its name or IP address alone, without a name look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    /// This machine.
    Loopback,
    /// A host on this machine's link, or its cloud's metadata service.
    Link,
    /// Any other host.
    Far,
}

impl Address {
    /// Reads `https://…`, `http://…` or `unix:///path`. The complaint never quotes a user name or a password.
    pub fn parse(text: &str, plaintext: Plaintext) -> Result<Self, Complaint> {
        const EXPECTED: &str = "an address is `https://host`, `https://host:port` or `unix:///path/of/socket`";
        // The tables of Unicode are left out of the build, see Cargo.toml.
        const PUNYCODE: &str = "a host's name beyond ASCII is written in Punycode, as `xn--…`";
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') || path.contains('\0') {
                return Err(Complaint::new("a Unix socket's address has no absolute path").hint(EXPECTED));
            }
            // `sun_path` has 108 bytes, and the last byte is zero.
            if path.len() > 107 {
                let message = format!("a Unix socket's path has at most 107 bytes, and this one {}", path.len());
                return Err(Complaint::new(message).hint("move the socket, or reach it through a shorter link"));
            }
            // Parsed at run time, so that no `expect` is needed.
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

    /// Whether the host is this machine.
    pub fn is_local(&self) -> bool {
        self.unix_socket.is_some() || distance(self.url.host_str().unwrap_or_default()) == Distance::Loopback
    }
}

const CLEAR: &str =
    "write `https://`; or, where nobody else is on the way, set `danger_plaintext = true` in the provider's table";

/// Refuses a URL that is unencrypted where `plaintext` does not allow it.
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

/// A URL's scheme, host and port, for a message, which must show no other part of a URL. Shortened, because a redirect's host may
/// have any length.
pub(crate) fn origin(url: &Url) -> String {
    const LONGEST: usize = 300;
    url.origin().ascii_serialization().chars().take(LONGEST).collect()
}

/// How far away the host of a URL is.
///
/// `localhost` and the names below it count as loopback (RFC 6761), because `resolve` maps them to loopback addresses.
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

/// The IP address, if a host is one. An IPv4-mapped IPv6 address counts as the IPv4 address.
pub(crate) fn ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Whether it has AWS's prefix for instance metadata and container credentials.
fn is_metadata(ip: Ipv6Addr) -> bool {
    ip.segments()[..2] == [0xfd00, 0x0ec2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_be_addressed_without_tls() {
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
    fn metadata_services_are_allowed_by_an_option() {
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
