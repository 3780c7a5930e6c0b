//! What a user and a provider can say about the client, with what holds where they say nothing.

use std::path::PathBuf;
use std::time::Duration;

use handfast_core::{Complaint, Environment, Problems, Table};
use reqwest::Url;

use crate::address::Plaintext;
use crate::authorities::{CaSource, NOTHING_TRUSTED, NOTHING_TRUSTED_HINT, Roots};
use crate::identity::ClientCertificate;
use crate::proxy::{Proxy, ProxyUrl, Route};
use crate::server_name::{Alias, ServerName};

/// How a [`Client`](crate::Client) behaves. `Default` gives what each field says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Certificates to trust as roots. Default: none.
    pub ca: Vec<CaSource>,
    /// Whether the built-in roots are trusted. Default: they are.
    pub roots: Roots,
    /// What proves who we are to a server that asks in TLS. Default: nothing.
    pub client_certificate: Option<ClientCertificate>,
    /// A host whose certificate is for another name. Default: each has its own.
    pub server_name: Option<ServerName>,
    /// Takes any server for the right one, so that whoever is on the way reads every secret. Default: no.
    pub danger_skip_verification: bool,
    /// Which proxy to use. Default: none.
    pub proxy: Proxy,
    /// A Unix socket that every request goes to, whatever its URL's host. Default: none.
    pub unix_socket: Option<PathBuf>,
    /// Where clear text is allowed. Default: loopback and Unix sockets.
    pub plaintext: Plaintext,
    /// Offers HTTP/2 in TLS: requests that start at once then share one connection, where HTTP/1.1 makes one for each. Not
    /// with `server_name`, whose two names HTTP/2 has one place for. Default: no.
    pub http2: bool,
    /// How long a connection may take, with name look-up (at most three quarters of it), proxy and TLS. Default: 8 s.
    pub connect_timeout: Duration,
    /// How long a request may wait for the head of its answer, connecting included, and then for each next part of the
    /// body. Default: 10 s.
    pub idle_timeout: Duration,
    /// How long a request may take from its start to the last byte of the answer, redirects included. Default: 30 s.
    pub total_timeout: Duration,
    /// The largest answer, in bytes. Default: 8 MiB, eight of the largest secret.
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
    /// Each key is taken from the last table that has it.
    pub fn read(tables: &[&Table], problems: &mut Problems) -> Self {
        Self::read_with_ca(tables, None, problems)
    }

    /// The same where a variable of the store's own may name authorities, such as VAULT_CACERT: they are all that is trusted,
    /// unless the last table says itself whom to trust.
    pub fn read_with_ca(tables: &[&Table], ca: Option<CaSource>, problems: &mut Problems) -> Self {
        let mut options = Self::default();
        let last = |key: &str| tables.iter().rev().find_map(|table| Some((table.string(key)?, table.place(key)?)));
        let is_said = |table: &&Table| table.item("ca_file").is_some() || table.item("roots").is_some();
        match ca.filter(|_| !tables.last().is_some_and(is_said)) {
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

    /// Why a URL cannot be asked with these options: its host is an IPv6 address, and a proxy is on the way. The HTTP library takes
    /// such a host, with its brackets, for the name that the certificate has to be for.
    pub fn unreachable(&self, url: &Url, environment: &dyn Environment) -> Option<Complaint> {
        Route::new(&self.proxy, environment).ok()?.unreachable(url)
    }

    /// What is wrong with the variables that these options lead to: what a client could not be made with.
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
    fn the_last_table_wins_key_by_key() {
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
    fn a_stores_own_variable_replaces_all_roots_but_those_of_its_table() {
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
