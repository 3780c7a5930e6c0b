//! A server whose certificate is for another name than the host in its address.

use std::net::IpAddr;

use handfast_core::{ErrorKind, ProviderError};
use reqwest::Url;
use rustls::pki_types;

use crate::address;

/// The name that a host's certificate must be for, if it is not the host itself: for a port that is forwarded to this machine,
/// for a load balancer's address, for a name that exists only in this network.
///
/// The client connects to the host, and sends the host in the `Host` header. In TLS, it sends the name (SNI) and checks it. In
/// two cases it sends the host in SNI, and still checks the name: if the name is an IP address, which SNI does not allow, and
/// through a proxy, which resolves the host itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName {
    /// The host, in the form of [`Url::host_str`].
    pub host: String,
    /// The name: a host name or an IP address. The same client cannot connect to another host with this name.
    pub name: String,
}

/// A parsed [`ServerName`].
#[derive(Debug)]
pub(crate) struct Alias {
    pub(crate) host: pki_types::ServerName<'static>,
    pub(crate) name: pki_types::ServerName<'static>,
    /// In the form that a URL has.
    host_text: String,
    name_text: String,
}

impl Alias {
    /// Parses host and name. `None` if they are the same.
    pub(crate) fn new(names: &ServerName) -> Result<Option<Self>, ProviderError> {
        let [host_text, name_text] = [&names.host, &names.name].map(|text| text.to_ascii_lowercase());
        let [host, name] = [parse(&host_text)?, parse(&name_text)?];
        Ok((host != name).then_some(Self { host, name, host_text, name_text }))
    }

    /// The URL with the name as host, so that the HTTP library sends the name in SNI. `None` if the URL is for another host, or
    /// the name cannot be sent.
    pub(crate) fn rename(&self, url: &Url) -> Option<Url> {
        let is_this_host = url.scheme() == "https" && url.host_str() == Some(&self.host_text);
        if !is_this_host || matches!(self.name, pki_types::ServerName::IpAddress(_)) {
            return None;
        }
        let mut renamed = url.clone();
        renamed.set_host(Some(&self.name_text)).ok()?;
        Some(renamed)
    }

    /// Whether `rename` has made this URL.
    pub(crate) fn is_renamed(&self, url: &Url) -> bool {
        url.scheme() == "https" && url.host_str() == Some(&self.name_text)
    }

    /// The host to connect to, if the HTTP library resolves the name.
    pub(crate) fn host_of(&self, name: &str) -> Option<Result<IpAddr, &str>> {
        (name == self.name_text).then(|| address::ip(&self.host_text).ok_or(self.host_text.as_str()))
    }
}

fn parse(text: &str) -> Result<pki_types::ServerName<'static>, ProviderError> {
    let wrong = || {
        let message =
            format!("cannot check a certificate for `{}`: it is no host name and no IP address", text.escape_debug());
        ProviderError::new(ErrorKind::Untrusted, message).hint("write a name that the certificate is for")
    };
    match address::ip(text) {
        Some(ip) => Ok(ip.into()),
        // A name that a URL changes would not be recognized when the HTTP library resolves it.
        None if Url::parse(&format!("https://{text}")).ok().and_then(|url| Some(url.host_str()? == text))
            != Some(true) =>
        {
            Err(wrong())
        }
        None => text.to_owned().try_into().map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(host: &str, name: &str) -> Result<Option<Alias>, ProviderError> {
        Alias::new(&ServerName { host: host.into(), name: name.into() })
    }

    fn renamed(host: &str, name: &str, url: &str) -> Option<String> {
        alias(host, name).unwrap()?.rename(&Url::parse(url).unwrap()).map(String::from)
    }

    #[test]
    fn only_the_configured_host_is_renamed() {
        let to = |url| renamed("10.0.0.1", "Vault.internal", url);
        assert_eq!(to("https://10.0.0.1:8200/v1/a?b").as_deref(), Some("https://vault.internal:8200/v1/a?b"));
        assert_eq!(to("https://10.0.0.2:8200/"), None);
        assert_eq!(to("http://10.0.0.1:8200/"), None);
        assert_eq!(renamed("[2001:db8::1]", "vault", "https://[2001:db8::1]/").as_deref(), Some("https://vault/"));
        assert_eq!(renamed("vault", "VAULT", "https://vault/"), None);
        assert_eq!(renamed("vault", "10.0.0.1", "https://vault/"), None);
    }

    #[test]
    fn the_name_leads_to_the_host() {
        let by_number = alias("10.0.0.1", "vault.internal").unwrap().unwrap();
        assert_eq!(by_number.host_of("vault.internal"), Some(Ok([10, 0, 0, 1].into())));
        assert_eq!(by_number.host_of("other.internal"), None);
        let by_name = alias("here.example", "vault.internal").unwrap().unwrap();
        assert_eq!(by_name.host_of("vault.internal"), Some(Err("here.example")));
    }

    #[test]
    fn invalid_names_are_refused() {
        for wrong in
            ["", "a b", "https://vault", "vault:8200", "vault/x", "user@vault", "vault#", "1.2", "0x7f.1", "\u{e9}"]
        {
            assert_eq!(alias("host", wrong).unwrap_err().kind, ErrorKind::Untrusted, "{wrong:?}");
        }
    }
}
