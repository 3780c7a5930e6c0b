//! The proxy that a request goes through, if any.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use handfast_core::{Complaint, Environment, ErrorKind, ProviderError};
use reqwest::Url;

use crate::address::{self, Distance, distance, origin};
use crate::server_name::Alias;

/// The value of the key `proxy`.
#[derive(Clone, Debug, Default)]
pub enum Proxy {
    /// No proxy.
    #[default]
    None,
    /// The proxy of the variables HTTPS_PROXY and NO_PROXY in upper or lower case, and `http_proxy`. HTTP_PROXY is not read,
    /// because the client of a CGI program can set it (httpoxy). As in curl, the lower-case variable takes precedence.
    Environment,
    /// This proxy, for all hosts but loopback and link-local addresses.
    Url(ProxyUrl),
}

/// A proxy's URL. It may contain a user name and a password, so its `Debug` shows only the origin.
#[derive(Clone)]
pub struct ProxyUrl(Url);

/// The proxies in use, and the hosts that are reached without one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    http: Option<ProxyUrl>,
    https: Option<ProxyUrl>,
    except: Vec<Exception>,
}

/// An entry of NO_PROXY. hyper-util's own parser does not know ports, a `*.` before a name and a dot after it, which other tools
/// allow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    /// An address, and the number of its leading bits that are compared.
    Network(IpAddr, u8),
    /// A name, and every name below it.
    Domain(String),
}

impl ProxyUrl {
    /// Reads `http://[user:password@]host[:port]`, or `https://…`. The error is the end of a sentence that begins with the
    /// setting's name; it never quotes the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("is not a URL that starts with `http://` or `https://`".into());
        }
        Ok(Self(url))
    }

    /// The URL with its credentials, for the only caller that sends them.
    fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&origin(&self.0))
    }
}

impl Route {
    pub(crate) fn new(proxy: &Proxy, environment: &dyn Environment) -> Result<Self, ProviderError> {
        Ok(match proxy {
            Proxy::None => Self::default(),
            Proxy::Url(url) => Self { http: Some(url.clone()), https: Some(url.clone()), except: Vec::new() },
            Proxy::Environment => {
                let list = ["no_proxy", "NO_PROXY"].iter().find_map(|name| environment.variable(name));
                Self {
                    http: from_environment(environment, &["http_proxy"])?,
                    https: from_environment(environment, &["https_proxy", "HTTPS_PROXY"])?,
                    except: list.into_iter().flat_map(|list| list.split(',')).filter_map(Exception::parse).collect(),
                }
            }
        })
    }

    /// The proxy for a URL.
    pub(crate) fn via(&self, target: &Url) -> Option<&ProxyUrl> {
        let proxy = if target.scheme() == "https" { &self.https } else { &self.http };
        let host = target.host_str()?;
        let direct = distance(host) != Distance::Far
            || self.except.iter().any(|exception| exception.covers(host, target.port_or_known_default()));
        proxy.as_ref().filter(|_| !direct)
    }

    /// See [`Options::unreachable`](crate::Options::unreachable).
    pub(crate) fn unreachable(&self, target: &Url) -> Option<Complaint> {
        let proxy = self.via(target)?;
        let is_ipv6 = target.scheme() == "https" && target.host_str().is_some_and(|host| host.starts_with('['));
        is_ipv6.then(|| {
            let message =
                format!("{} is an IPv6 address, which cannot be asked through the proxy {proxy:?}", origin(target));
            Complaint::new(message)
                .hint("use a host name; or ask it directly, by `proxy = \"none\"` in [fetch] or by NO_PROXY")
        })
    }

    /// As the function that reqwest calls for each connection.
    pub(crate) fn into_reqwest(self, alias: Option<Arc<Alias>>) -> reqwest::Proxy {
        // A URL is renamed only if the request goes through no proxy.
        let direct = move |target: &Url| alias.as_ref().is_some_and(|alias| alias.is_renamed(target));
        reqwest::Proxy::custom(
            move |target| {
                if direct(target) { None } else { self.via(target).map(|proxy| proxy.expose().clone()) }
            },
        )
    }
}

/// The proxy of the first variable that is set. As in other tools, `host:port` means `http://host:port`.
fn from_environment(environment: &dyn Environment, names: &[&str]) -> Result<Option<ProxyUrl>, ProviderError> {
    let Some((name, text)) = names.iter().find_map(|name| Some((name, environment.variable(name)?))) else {
        return Ok(None);
    };
    let url = if text.contains("://") { ProxyUrl::parse(text) } else { ProxyUrl::parse(&format!("http://{text}")) };
    url.map(Some).map_err(|why| {
        ProviderError::new(ErrorKind::Malformed, format!("cannot use the proxy: the variable {name} {why}"))
            .hint("set it to a URL such as `http://proxy.internal:3128`, or set `proxy`")
    })
}

impl Exception {
    /// Reads `*`, a name with or without `.` or `*.` before it, an address or a network, each with or without `:port`. Any other
    /// entry is ignored.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        let (host, port) = match entry.rsplit_once(':') {
            // More than one colon is an IPv6 address, unless it ends in brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (entry.as_str(), None),
        };
        let host = match host.split_once('/') {
            _ if host == "*" => Host::Any,
            Some((network, bits)) => {
                let network = address::ip(network)?;
                Host::Network(network, bits.parse().ok().filter(|bits| *bits <= width(network))?)
            }
            None => match address::ip(host) {
                Some(ip) => Host::Network(ip, width(ip)),
                None => {
                    let name = host.strip_prefix('*').unwrap_or(host);
                    let name = name.strip_prefix('.').unwrap_or(name).trim_end_matches('.');
                    Host::Domain(Some(name).filter(|name| !name.is_empty())?.to_owned())
                }
            },
        };
        Some(Self { host, port })
    }

    fn covers(&self, host: &str, port: Option<u16>) -> bool {
        let covered = match (&self.host, address::ip(host)) {
            (Host::Any, _) => true,
            (Host::Network(network, bits), Some(ip)) => bits_of(ip, *bits) == bits_of(*network, *bits),
            (Host::Domain(name), None) => {
                let host = host.trim_end_matches('.');
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            _ => false,
        };
        covered && (self.port.is_none() || self.port == port)
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The leading bits of an address, and its family so that `0.0.0.0/0` does not cover IPv6.
fn bits_of(ip: IpAddr, bits: u8) -> (bool, u128) {
    let (whole, width) = match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    (ip.is_ipv4(), whole.checked_shr(width - u32::from(bits).min(width)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use handfast_core::SecretValue;

    use super::*;

    struct Variables(&'static [(&'static str, &'static str)]);

    impl Environment for Variables {
        fn variable(&self, name: &str) -> Option<&str> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
        }

        fn credential(&self, _: &str) -> Option<&SecretValue> {
            None
        }
    }

    fn via(variables: &'static [(&str, &str)], target: &str) -> Option<String> {
        let route = Route::new(&Proxy::Environment, &Variables(variables)).unwrap();
        route.via(&Url::parse(target).unwrap()).map(|proxy| format!("{proxy:?}"))
    }

    #[test]
    fn http_proxy_is_read_in_lower_case_only() {
        assert_eq!(via(&[("HTTP_PROXY", "http://evil")], "http://store.example"), None);
        assert_eq!(via(&[("http_proxy", "http://p:1")], "http://store.example").as_deref(), Some("http://p:1"));
        assert_eq!(via(&[("http_proxy", "http://p:1")], "https://store.example"), None);
        assert_eq!(via(&[("HTTPS_PROXY", "p:1")], "https://store.example").as_deref(), Some("http://p:1"));
        let both: &[_] = &[("HTTPS_PROXY", "http://upper"), ("https_proxy", "https://lower")];
        assert_eq!(via(both, "https://store.example").as_deref(), Some("https://lower"));
    }

    #[test]
    fn loopback_and_link_local_never_use_a_proxy() {
        let route = Route::new(&Proxy::Url(ProxyUrl::parse("http://p").unwrap()), &Variables(&[])).unwrap();
        for direct in [
            "https://127.0.0.1",
            "https://127.8.8.8:8200",
            "https://[::1]",
            "https://localhost",
            "http://169.254.169.254",
            "http://[fe80::1]",
            "http://[fd00:ec2::23]",
            "https://[::ffff:127.0.0.1]",
        ] {
            assert!(route.via(&Url::parse(direct).unwrap()).is_none(), "{direct}");
        }
        assert!(route.via(&Url::parse("https://127.0.0.1.example").unwrap()).is_some());
    }

    #[test]
    fn no_proxy() {
        const LIST: &[(&str, &str)] = &[
            ("https_proxy", "http://p"),
            (
                "no_proxy",
                "Corp.example, .svc,*.dot.example.,10.0.0.0/8,192.0.2.7, [2001:db8::1],2001:db8:1::/48,p.example:8200,x/y,,:,10.0.0.0/99",
            ),
        ];
        for direct in [
            "https://corp.example",
            "https://CORP.example.",
            "https://vault.corp.example",
            "https://vault.ns.svc",
            "https://svc",
            "https://a.dot.example",
            "https://10.255.0.1",
            "https://192.0.2.7",
            "https://[2001:db8::1]",
            "https://[2001:db8:1:2::3]:8200",
            "https://p.example:8200",
        ] {
            assert_eq!(via(LIST, direct), None, "{direct}");
        }
        for proxied in [
            "https://notcorp.example",
            "https://11.0.0.1",
            "https://192.0.2.8",
            "https://[2001:db8::2]",
            "https://[2001:db8:2::1]",
            "https://p.example",
            "https://other.example",
        ] {
            assert!(via(LIST, proxied).is_some(), "{proxied}");
        }
        assert_eq!(via(&[("https_proxy", "http://p"), ("NO_PROXY", "*")], "https://far.example"), None);
        assert_eq!(via(&[("https_proxy", "http://p"), ("NO_PROXY", "0.0.0.0/0")], "https://8.8.8.8"), None);
        assert!(via(&[("https_proxy", "http://p"), ("NO_PROXY", "0.0.0.0/0")], "https://[2001:db8::1]").is_some());
    }

    #[test]
    fn an_ipv6_address_cannot_be_requested_through_a_proxy() {
        let unreachable = |target: &str| {
            let route =
                Route::new(&Proxy::Url(ProxyUrl::parse("http://u:pa55@p:1").unwrap()), &Variables(&[])).unwrap();
            route.unreachable(&Url::parse(target).unwrap()).map(|complaint| complaint.message)
        };
        assert_eq!(
            unreachable("https://[2001:db8::1]:8200/v1").as_deref(),
            Some("https://[2001:db8::1]:8200 is an IPv6 address, which cannot be asked through the proxy http://p:1")
        );
        for target in ["https://[::1]:8200", "https://192.0.2.1", "https://store.example", "http://[2001:db8::1]"] {
            assert_eq!(unreachable(target), None, "{target}");
        }
    }

    #[test]
    fn a_bad_variable_is_an_error_that_shows_no_credential() {
        for bad in ["socks5://u:pa55@p", "http://u:pa55@", "://pa55", "http://u:pa55@p:99999"] {
            let variables: &'static [_] = Vec::leak(vec![("https_proxy", bad)]);
            let error = Route::new(&Proxy::Environment, &Variables(variables)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Malformed);
            assert!(!format!("{error:?}").contains("pa55") && error.message.contains("https_proxy"), "{error:?}");
        }
    }
}
