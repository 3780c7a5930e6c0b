//! Another name for a server than the one in its address.

use std::net::IpAddr;

use handfast_core::{ErrorKind, ProviderError};
use reqwest::Url;
use rustls::pki_types;

use crate::address;

/// The name that a host's certificate must be for, where it is not the host's own: a port forwarded to this machine, a load
/// balancer's address, a name that only this network knows.
///
/// The connection goes to the host, and so does the `Host` header; TLS asks for the name (SNI) and checks it. Two cases ask
/// for the host instead, and still check the name: the name is an IP address, which SNI cannot say, or the way leads
/// through a proxy, which finds the host by that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName {
    /// The host, as [`Url::host_str`] has it.
    pub host: String,
    /// The name, a host name or an IP address. No other host of this name can be asked by the same client.
    pub name: String,
}

/// The same, read.
#[derive(Debug)]
pub(crate) struct Alias {
    pub(crate) host: pki_types::ServerName<'static>,
    pub(crate) name: pki_types::ServerName<'static>,
    /// As URLs have them.
    host_text: String,
    name_text: String,
}

impl Alias {
    /// Reads what a user wrote. Nothing where the two are the same.
    pub(crate) fn new(names: &ServerName) -> Result<Option<Self>, ProviderError> {
        let [host_text, name_text] = [&names.host, &names.name].map(|text| text.to_ascii_lowercase());
        let [host, name] = [read(&host_text)?, read(&name_text)?];
        Ok((host != name).then_some(Self { host, name, host_text, name_text }))
    }

    /// The URL that makes the HTTP library ask for the name; nothing where it is not to.
    pub(crate) fn rename(&self, url: &Url) -> Option<Url> {
        let theirs = url.scheme() == "https" && url.host_str() == Some(&self.host_text);
        if !theirs || matches!(self.name, pki_types::ServerName::IpAddress(_)) {
            return None;
        }
        let mut renamed = url.clone();
        renamed.set_host(Some(&self.name_text)).ok()?;
        Some(renamed)
    }

    /// Whether a URL comes from `rename`.
    pub(crate) fn is_renamed(&self, url: &Url) -> bool {
        url.scheme() == "https" && url.host_str() == Some(&self.name_text)
    }

    /// The host to connect to, instead of the one that the HTTP library asks for.
    pub(crate) fn host_of(&self, name: &str) -> Option<Result<IpAddr, &str>> {
        (name == self.name_text).then(|| address::ip(&self.host_text).ok_or(self.host_text.as_str()))
    }
}

fn read(text: &str) -> Result<pki_types::ServerName<'static>, ProviderError> {
    let wrong = || {
        let message =
            format!("cannot check a certificate for `{}`: it is no host name and no IP address", text.escape_debug());
        ProviderError::new(ErrorKind::Untrusted, message).hint("write a name that the certificate is for")
    };
    match address::ip(text) {
        Some(ip) => Ok(ip.into()),
        // What a URL would write in another way, it would not lead back.
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
    fn only_the_host_in_question_gets_another_name() {
        let to = |url| renamed("10.0.0.1", "Vault.internal", url);
        assert_eq!(to("https://10.0.0.1:8200/v1/a?b").as_deref(), Some("https://vault.internal:8200/v1/a?b"));
        assert_eq!(to("https://10.0.0.2:8200/"), None);
        assert_eq!(to("http://10.0.0.1:8200/"), None);
        assert_eq!(renamed("[2001:db8::1]", "vault", "https://[2001:db8::1]/").as_deref(), Some("https://vault/"));
        assert_eq!(renamed("vault", "VAULT", "https://vault/"), None);
        assert_eq!(renamed("vault", "10.0.0.1", "https://vault/"), None);
    }

    #[test]
    fn the_way_back() {
        let by_number = alias("10.0.0.1", "vault.internal").unwrap().unwrap();
        assert_eq!(by_number.host_of("vault.internal"), Some(Ok([10, 0, 0, 1].into())));
        assert_eq!(by_number.host_of("other.internal"), None);
        let by_name = alias("here.example", "vault.internal").unwrap().unwrap();
        assert_eq!(by_name.host_of("vault.internal"), Some(Err("here.example")));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in
            ["", "a b", "https://vault", "vault:8200", "vault/x", "user@vault", "vault#", "1.2", "0x7f.1", "\u{e9}"]
        {
            assert_eq!(alias("host", wrong).unwrap_err().kind, ErrorKind::Untrusted, "{wrong:?}");
        }
    }
}
