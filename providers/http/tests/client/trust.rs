//! Servers that cannot be trusted: they get no request, are not tried again, and each cause has its own error.

use std::sync::Arc;

use handfast_core::ErrorKind::{Unavailable, Untrusted};
use handfast_core::ProviderError;
use handfast_http::{CaSource, Client, Options, Roots, Url};
use rustls::ServerConfig;

use crate::support::*;

/// The error of a request to a server, which must have seen one connection and no request.
async fn refused(authority: &Authority, options: Options, tls: ServerConfig, part: &str) -> ProviderError {
    let server = Server::start(Some(tls), |_| ok("")).await;
    let error = failed(fetch(authority, options, get(server.url("https", "/"))).await, Untrusted, part);
    assert_eq!(server.connections(), 1, "an untrusted server is not tried again");
    assert_eq!(server.requests(), Vec::<String>::new());
    error
}

#[tokio::test]
async fn certificates() {
    let authority = Authority::new();
    let here = &["127.0.0.1"];
    let expired = refused(&authority, options(), authority.server_valid(here, (2020, 2021)), "expired").await;
    assert!(expired.hint.unwrap().contains("clock"));
    refused(&authority, options(), authority.server_valid(here, (2098, 2099)), "is valid only in").await;
    refused(&authority, options(), authority.server(&["vault.internal", "10.0.0.1"]), "is for another name").await;
    for stranger in [Authority::new(), Authority::named("another authority")] {
        let unknown = refused(&authority, options(), stranger.server(here), "an unknown authority").await;
        assert!(unknown.hint.unwrap().contains("ca_file"));
    }
    let builtin = Options { ca: Vec::new(), roots: Roots::Builtin, ..options() };
    refused(&authority, builtin, authority.server(here), "an unknown authority").await;
}

#[tokio::test]
async fn a_file_of_two_authorities_beside_the_builtin_ones() {
    let (first, second) = (Authority::new(), Authority::new());
    let pem = format!("# corp\n{}\n\n{}", first.pem(), second.pem());
    let world = World { files: vec![(CA_FILE, pem.into_bytes())], ..World::default() };
    let options = Options { roots: Roots::Builtin, ..options() };
    let client = Client::new(options, &world.context()).unwrap();
    for authority in [&first, &second] {
        let server = Server::start(Some(authority.server(&["127.0.0.1", "localhost"])), |_| ok("trusted")).await;
        assert_eq!(text(&client.send(get(server.url("https", "/"))).await.unwrap()), "trusted");
        let by_name = Url::parse(&format!("https://localhost:{}/", server.address.port())).unwrap();
        assert_eq!(text(&client.send(get(by_name)).await.unwrap()), "trusted");
    }
}

#[tokio::test]
async fn the_default_of_rustls_in_the_process_is_neither_used_nor_set() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server(&["127.0.0.1"])), |_| ok("")).await;
    fetch(&authority, options(), get(server.url("https", "/"))).await.unwrap();
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}

#[tokio::test]
async fn servers_that_do_not_respond_with_tls() {
    for (bytes, stay, kind, part) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], true, Untrusted, "something else than TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", true, Untrusted, "something else than TLS"),
        // A fatal handshake_failure.
        (b"\x15\x03\x03\x00\x02\x02\x28", true, Untrusted, "HandshakeFailure"),
        (b"", false, Unavailable, "the connection ended before an answer"),
        (b"", true, Unavailable, "within"),
    ] {
        let (address, connections) = raw_server(bytes, stay).await;
        let url = Url::parse(&format!("https://{address}/")).unwrap();
        let options = if part == "within" { impatient() } else { options() };
        failed(fetch(&Authority::new(), options, get(url)).await, kind, part);
        assert_eq!(*connections.lock().unwrap(), 1);
    }
}

#[tokio::test]
async fn a_directory_of_authorities_and_a_text() {
    let [first, second, third, stranger] = [(); 4].map(|()| Authority::new());
    let world = World {
        files: vec![
            ("/etc/ca/a.pem", first.pem().into_bytes()),
            ("/etc/ca/below/b.pem", second.pem().into_bytes()),
            ("/etc/other.pem", stranger.pem().into_bytes()),
        ],
        ..World::default()
    };
    let text = CaSource::Text { setting: "VAULT_CACERT_BYTES", pem: third.pem() };
    let options = Options { ca: vec![CaSource::Directory("/etc/ca".into()), text], ..options() };
    let client = Client::new(options, &world.context()).unwrap();
    for (authority, trusted) in [(&first, true), (&second, true), (&third, true), (&stranger, false)] {
        let server = Server::start(Some(authority.server(&["127.0.0.1"])), |_| ok("")).await;
        let result = client.send(get(server.url("https", "/"))).await;
        match trusted {
            true => assert!(result.is_ok()),
            false => drop(failed(result, Untrusted, "an unknown authority")),
        }
    }
}

#[test]
fn an_unusable_directory_or_text_is_an_error_with_its_name() {
    let good = Authority::new().pem();
    let directory = |files| {
        let options = Options { ca: vec![CaSource::Directory("/etc/ca".into())], ..options() };
        Client::new(options, &World { files, ..World::default() }.context())
    };
    failed(directory(vec![]), Untrusted, "the certificates of `/etc/ca`: there are none in it");
    // Each file in the directory must be usable, as for Vault's own client.
    let beside = vec![("/etc/ca/a.pem", good.into_bytes()), ("/etc/ca/README", CANARY.into())];
    failed(directory(beside), Untrusted, "the certificates of `/etc/ca/README`: there are none in it");
    let text = CaSource::Text { setting: "VAULT_CACERT_BYTES", pem: CANARY.into() };
    let options = Options { ca: vec![text], ..options() };
    assert!(!format!("{options:?}").contains(CANARY), "{options:?}");
    failed(Client::new(options, &World::default().context()), Untrusted, "`VAULT_CACERT_BYTES`: there are none in it");
}

/// The authorities in the system's own directory are trusted, if the system has one.
#[test]
fn the_systems_own_authorities_can_be_named() {
    let context =
        handfast_core::Context { files: std::rc::Rc::new(handfast_core::files::System), ..World::default().context() };
    let bundle = std::path::PathBuf::from("/etc/ssl/certs/ca-certificates.crt");
    if !bundle.exists() {
        println!("skipped: the_systems_own_authorities_can_be_named: needs ca-certificates");
        return;
    }
    let options = Options { ca: vec![CaSource::File(bundle)], ..options() };
    assert!(Client::new(options, &context).is_ok());
}

#[tokio::test]
async fn without_verification_any_certificate_is_accepted_if_the_server_has_its_key() {
    let unverified = || Options { ca: Vec::new(), danger_skip_verification: true, ..options() };
    let (authority, here) = (Authority::new(), &["127.0.0.1"]);
    for tls in [authority.server(&["vault.internal"]), authority.server_valid(here, (2020, 2021))] {
        let server = Server::start(Some(tls), |_| ok("anyone")).await;
        let response = fetch(&authority, unverified(), get(server.url("https", "/"))).await.unwrap();
        assert_eq!(text(&response), "anyone");
    }
    for versions in [[&rustls::version::TLS12], [&rustls::version::TLS13]] {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let [own, other] = [(); 2].map(|()| rcgen::KeyPair::generate().unwrap());
        let certificate = authority.issue(here, (2020, 2099), &own);
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(other.serialize_der()).into();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let stolen = rustls::sign::CertifiedKey::new(vec![certificate.der().clone()], key);
        let tls = ServerConfig::builder_with_provider(ring)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
        refused(&authority, unverified(), tls, "it does not hold the key of its certificate").await;
    }
}

#[test]
fn an_unusable_ca_file_is_an_error_with_its_name() {
    let good = Authority::new().pem();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let unusable: &[(&str, String)] = &[
        ("there are none in it", String::new()),
        ("there are none in it", format!("just text {CANARY}")),
        ("there are none in it", key),
        ("number 1 is not in PEM form", good[..good.len() / 2].to_owned()),
        ("number 2 is not in PEM form", format!("{good}-----BEGIN CERTIFICATE-----\n{CANARY}")),
        (
            "number 1 is not in PEM form",
            format!("-----BEGIN CERTIFICATE-----\n!{CANARY}!\n-----END CERTIFICATE-----\n"),
        ),
        (
            "number 2 is not a certificate of an authority",
            format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ),
    ];
    for (part, pem) in unusable {
        let world = World { files: vec![(CA_FILE, pem.clone().into_bytes())], ..World::default() };
        let error = failed(Client::new(options(), &world.context()), Untrusted, part);
        assert!(error.message.contains(CA_FILE), "{error:?}");
    }
    let binary = World { files: vec![(CA_FILE, (0..=255).cycle().take(5000).collect())], ..World::default() };
    failed(Client::new(options(), &binary.context()), Untrusted, CA_FILE);
    // The kind is not that of a missing secret, which could be optional.
    failed(Client::new(options(), &World::default().context()), Untrusted, "no such file");
    let nothing = Options { ca: Vec::new(), roots: Roots::None, ..options() };
    failed(Client::new(nothing, &World::default().context()), Untrusted, "there is no `ca_file`");
}
