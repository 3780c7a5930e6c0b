//! The options of the client, from the user and the provider, with their defaults.

use std::path::PathBuf;
use std::time::Duration;

use handfast_core::{Complaint, Environment, Problems, Table};
use reqwest::Url;

use crate::address::Plaintext;
use crate::authorities::{CaSource, NOTHING_TRUSTED, NOTHING_TRUSTED_HINT, Roots};
use crate::identity::ClientCertificate;
use crate::proxy::{Proxy, ProxyUrl, Route};
use crate::server_name::{Alias, ServerName};

/// The options of a [`Client`](crate::Client).
#[derive(Clone, Debug)]
pub struct Options {
    /// The user's certificates to trust as roots. Default: none.
    pub ca: Vec<CaSource>,
    /// Whether the built-in roots are trusted. Default: they are.
    pub roots: Roots,
    /// The certificate for servers that request a client certificate. Default: none.
    pub client_certificate: Option<ClientCertificate>,
    /// A host whose certificate is for another name. Default: none.
    pub server_name: Option<ServerName>,
    /// Does not check the server's certificate, so that anybody on the network path can read every secret. Default: no.
    pub danger_skip_verification: bool,
    /// The proxy to use. Default: none.
    pub proxy: Proxy,
    /// A Unix socket that every request goes to, whatever its URL's host. Default: none.
    pub unix_socket: Option<PathBuf>,
    /// The hosts that unencrypted requests may go to. Default: loopback and Unix sockets.
    pub plaintext: Plaintext,
    /// Offers HTTP/2 in TLS: requests that start at the same time then share one connection, while HTTP/1.1 needs one for each.
    /// Has no effect with `server_name`, because HTTP/2 has only one field (`:authority`) for its two names. Default: no.
    pub http2: bool,
    /// How long a connection may take, including the name look-up (at most three quarters of this time), proxy and TLS. Default:
    /// 8 s.
    pub connect_timeout: Duration,
    /// How long a request may wait for the response's headers, including the connection, and then for each part of the body.
    /// Default: 10 s.
    pub idle_timeout: Duration,
    /// How long a request may take from its start to the last byte of the response, including redirects. Default: 30 s.
    pub total_timeout: Duration,
    /// The largest response, in bytes. Default: 8 MiB, enough for eight secrets of the largest size.
    pub response_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ca: Vec::new(),
            roots: Roots::Builtin,
            client_certificate: None,
            server_name: None,
            danger_skip_verification: false,
            proxy: Proxy::None,
            unix_socket: None,
            plaintext: Plaintext::Local,
            http2: false,
            connect_timeout: Duration::from_secs(8),
            idle_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            response_limit: 8 << 20,
        }
    }
}

impl Options {
    /// Reads `ca_file`, `roots` and `proxy` from tables whose keys are already checked: `[fetch]`, then `[providers.NAME]`.
    /// For each key, the last table that has it counts.
    pub fn read(tables: &[&Table], problems: &mut Problems) -> Self {
        Self::read_with_ca(tables, None, problems)
    }

    /// As [`read`](Self::read), with the authorities that a variable of the store names, such as VAULT_CACERT. Only these are
    /// trusted, unless the last table has `ca_file` or `roots`.
    pub fn read_with_ca(tables: &[&Table], ca: Option<CaSource>, problems: &mut Problems) -> Self {
        let mut options = Self::default();
        let last = |key: &str| tables.iter().rev().find_map(|table| Some((table.string(key)?, table.place(key)?)));
        let sets_trust = |table: &&Table| table.item("ca_file").is_some() || table.item("roots").is_some();
        match ca.filter(|_| !tables.last().is_some_and(sets_trust)) {
            Some(ca) => {
                options.roots = Roots::None;
                options.ca = vec![ca];
            }
            None => {
                if let Some((path, place)) = last("ca_file") {
                    options.ca = vec![CaSource::File(path.into())];
                    if !path.starts_with('/') {
                        let message = format!("`ca_file` is \"{}\", expected an absolute path", path.escape_debug());
                        problems.add(place, message);
                    }
                }
                if let Some(("none", place)) = last("roots") {
                    options.roots = Roots::None;
                    if options.ca.is_empty() {
                        problems.add_with_hint(place, NOTHING_TRUSTED, NOTHING_TRUSTED_HINT);
                    }
                }
            }
        }
        if let Some((text, place)) = last("proxy") {
            match text {
                "none" => {}
                "environment" => options.proxy = Proxy::Environment,
                url => match ProxyUrl::parse(url) {
                    Ok(url) => options.proxy = Proxy::Url(url),
                    Err(why) => problems.add_with_hint(
                        place,
                        format!("`proxy` {why}"),
                        "write \"none\", \"environment\" or a URL such as \"http://proxy.internal:3128\"",
                    ),
                },
            }
        }
        options
    }

    /// Why a URL cannot be requested with these options: its host is an IPv6 address, and the request goes through a proxy. The
    /// HTTP library would compare the host, with its brackets, with the names in the certificate.
    pub fn unreachable(&self, url: &Url, environment: &dyn Environment) -> Option<Complaint> {
        Route::new(&self.proxy, environment).ok()?.unreachable(url)
    }

    /// The problems for which [`Client::new`](crate::Client::new) would fail: in the proxy variables, and in `server_name`.
    pub fn unusable(&self, environment: &dyn Environment) -> impl Iterator<Item = Complaint> {
        let route = Route::new(&self.proxy, environment).err();
        let alias = self.server_name.as_ref().and_then(|names| Alias::new(names).err());
        route.into_iter().chain(alias).map(|error| Complaint { message: error.message, hint: error.hint })
    }
}

#[cfg(test)]
mod tests {
    use handfast_core::{Item, Place, Value};

    use super::*;

    fn table(entries: &[(&str, &str)]) -> Table {
        let mut table = Table::default();
        for (key, text) in entries {
            let value = Value::String(text.to_string().into());
            table.set(key, Place::CommandLine, Item { place: Place::CommandLine, value });
        }
        table
    }

    #[test]
    fn for_each_key_the_last_table_counts() {
        let fetch = table(&[("ca_file", "/fetch.pem"), ("roots", "none"), ("proxy", "environment")]);
        let provider = table(&[("ca_file", "/provider.pem"), ("proxy", "none")]);
        let mut problems = Problems::default();
        let options = Options::read(&[&fetch, &provider], &mut problems);
        assert!(problems.is_empty());
        assert_eq!(options.ca, [CaSource::File("/provider.pem".into())]);
        assert_eq!(options.roots, Roots::None);
        assert!(matches!(options.proxy, Proxy::None));
    }

    #[test]
    fn a_variable_of_the_store_replaces_all_roots_but_those_of_the_providers_table() {
        let named = || Some(CaSource::File("/named.pem".into()));
        let (with_file, none) = (table(&[("ca_file", "/fetch.pem")]), table(&[("roots", "none")]));
        for fetch in [&Table::default(), &with_file, &none] {
            let mut problems = Problems::default();
            let options = Options::read_with_ca(&[fetch, &Table::default()], named(), &mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!((options.ca, options.roots), (vec![CaSource::File("/named.pem".into())], Roots::None));
        }
        let mut problems = Problems::default();
        let options = Options::read_with_ca(&[&none, &table(&[("ca_file", "/own.pem")])], named(), &mut problems);
        assert_eq!((options.ca, options.roots), (vec![CaSource::File("/own.pem".into())], Roots::None));
        Options::read_with_ca(&[&Table::default(), &none], named(), &mut problems);
        assert_eq!(problems.len(), 1, "its own table trusts nobody");
    }

    #[test]
    fn wrong_values_are_problems_that_show_no_credential() {
        for wrong in [
            &[("roots", "none")][..],
            &[("ca_file", "relative.pem")],
            &[("proxy", "socks5://user:pa55@proxy")],
            &[("proxy", "http://user:pa55@")],
            &[("proxy", "user:pa55@proxy:3128")],
            &[("proxy", "")],
        ] {
            let mut problems = Problems::default();
            let options = Options::read(&[&table(wrong)], &mut problems);
            assert_eq!(problems.len(), 1, "{wrong:?}");
            assert!(!format!("{problems:?} {options:?}").contains("pa55"), "{problems:?}");
        }
    }
}
