//! Hosts whose certificate is for another name.

use std::sync::{Arc, Mutex};

use handfast_core::ErrorKind::Untrusted;
use handfast_http::{Client, Options, ServerName, Url};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::support::*;

/// Records the names in the clients' requests (SNI).
#[derive(Debug)]
struct Recorder(Arc<dyn ResolvesServerCert>, Arc<Mutex<Vec<Option<String>>>>);

impl ResolvesServerCert for Recorder {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.1.lock().unwrap().push(hello.server_name().map(str::to_owned));
        self.0.resolve(hello)
    }
}

fn recording(mut tls: ServerConfig) -> (ServerConfig, Arc<Mutex<Vec<Option<String>>>>) {
    let names: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    tls.cert_resolver = Arc::new(Recorder(tls.cert_resolver.clone(), names.clone()));
    (tls, names)
}

fn named(host: &str, name: &str) -> Options {
    Options { server_name: Some(ServerName { host: host.into(), name: name.into() }), ..options() }
}

#[tokio::test]
async fn the_name_is_sent_and_checked_and_the_client_connects_to_the_host() {
    let authority = Authority::new();
    for (host, name, sni) in [
        ("127.0.0.1", "vault.internal", Some("vault.internal")),
        ("localhost", "Vault.Internal", Some("vault.internal")),
        // SNI cannot contain an IP address.
        ("localhost", "10.0.0.7", Some("localhost")),
        ("127.0.0.1", "10.0.0.7", None),
    ] {
        let (tls, names) = recording(authority.server(&[name]));
        let server = Server::start(Some(tls), |_| ok("found")).await;
        let port = server.address.port();
        let url = || Url::parse(&format!("https://{host}:{port}/v1/x")).unwrap();
        assert_eq!(text(&fetch(&authority, named(host, name), get(url())).await.unwrap()), "found");
        assert_eq!(*names.lock().unwrap(), [sni.map(str::to_owned)], "{host} {name}");
        let seen = &server.requests()[0];
        assert!(seen.contains(&format!("host: {host}:{port}\r\n")) && seen.starts_with("GET /v1/x?"), "{seen}");
        failed(fetch(&authority, options(), get(url())).await, Untrusted, "for another name");
    }
}

#[tokio::test]
async fn a_certificate_for_the_host_itself_is_refused() {
    let authority = Authority::new();
    for name in ["vault.internal", "10.0.0.7"] {
        let server = Server::start(Some(authority.server(&["127.0.0.1"])), |_| ok("")).await;
        let result = fetch(&authority, named("127.0.0.1", name), get(server.url("https", "/"))).await;
        let error = failed(result, Untrusted, &format!("its certificate is not for `{name}`"));
        assert!(error.message.starts_with("cannot ask https://127.0.0.1:"), "{error:?}");
        assert_eq!(server.requests(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn another_host_keeps_its_name() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server(&["127.0.0.1"])), |_| ok("")).await;
    let client = Client::new(named("store.example", "vault.internal"), &World::trusting(&authority).context()).unwrap();
    assert!(client.send(get(server.url("https", "/"))).await.is_ok());
}

#[tokio::test]
async fn redirects_compare_the_address_and_not_the_name() {
    let authority = Authority::new();
    for (target, followed) in [("127.0.0.1", true), ("vault.internal", false)] {
        let script = move |request: &str| {
            let host = request.lines().find_map(|line| line.strip_prefix("host: 127.0.0.1:")).unwrap();
            let location = format!("https://{target}:{host}/second");
            match request.contains("second") {
                true => ok("found"),
                false => vec![send(format!("HTTP/1.1 307 x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"))],
            }
        };
        let server = Server::start(Some(authority.server(&["vault.internal"])), script).await;
        let result = fetch(&authority, named("127.0.0.1", "vault.internal"), get(server.url("https", "/"))).await;
        match followed {
            true => assert_eq!(text(&result.unwrap()), "found"),
            false => drop(failed(result, Untrusted, "another origin, https://vault.internal:")),
        }
    }
}

#[test]
fn an_invalid_name_is_an_error() {
    let context = World::trusting(&Authority::new()).context();
    failed(Client::new(named("127.0.0.1", "vault:8200"), &context), Untrusted, "`vault:8200`: it is no host name");
}
