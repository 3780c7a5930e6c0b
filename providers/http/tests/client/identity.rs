//! Servers that request a client certificate.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use handfast_core::ErrorKind::Denied;
use handfast_http::{Client, ClientCertificate, Options};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::support::*;

const CERTIFICATE: &str = "/etc/ssl/client.pem";
const KEY: &str = "/etc/ssl/client.key";
const YEARS: (i32, i32) = (2020, 2099);

fn shown() -> Options {
    let files = ClientCertificate { certificate: CERTIFICATE.into(), key: KEY.into() };
    Options { client_certificate: Some(files), ..options() }
}

/// A server that requires a client certificate of the authority, but names another authority in its request.
fn asking(authority: &Authority, version: &'static SupportedProtocolVersion) -> ServerConfig {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), ring.clone())
        .clear_root_hint_subjects()
        .add_root_hint_subjects([b"another".to_vec().into()])
        .build()
        .unwrap();
    ServerConfig::builder_with_provider(ring)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(authority.server(&["127.0.0.1"]).cert_resolver.clone())
}

fn world(authority: &Authority, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> World {
    let mut world = World::trusting(authority);
    world.files.extend([(CERTIFICATE, certificate.into()), (KEY, key.into())]);
    world
}

/// The key in its own form, without the PKCS#8 envelope.
fn bare(key: &KeyPair) -> Vec<u8> {
    /// An element's body, and the rest after it.
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, start) = match der[1] {
            short @ 0..0x80 => (usize::from(short), 2),
            long => {
                let count = usize::from(long & 0x7f);
                (der[2..2 + count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
            }
        };
        der[start..].split_at(length)
    }
    let der = key.serialize_der();
    let (envelope, _) = element(&der);
    let (_version, rest) = element(envelope);
    let (_algorithm, rest) = element(rest);
    element(rest).0.to_vec()
}

fn pem(label: &str, der: &[u8]) -> String {
    // The parser accepts lines of any length.
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[tokio::test]
async fn every_form_of_a_key_works_with_both_versions_of_tls() {
    let authority = Authority::new();
    let rsa = KeyPair::from_pem(include_str!("data/rsa.pem")).unwrap();
    let p256 = KeyPair::generate().unwrap();
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    for (name, key, text) in [
        ("RSA, PKCS#8", &rsa, rsa.serialize_pem()),
        ("RSA, PKCS#1", &rsa, pem("RSA PRIVATE KEY", &bare(&rsa))),
        ("P-256, PKCS#8", &p256, p256.serialize_pem()),
        ("P-256, SEC1", &p256, pem("EC PRIVATE KEY", &bare(&p256))),
        ("P-384, SEC1", &p384, pem("EC PRIVATE KEY", &bare(&p384))),
        ("Ed25519, PKCS#8", &ed25519, ed25519.serialize_pem()),
    ] {
        // Some users keep key and certificates in one file.
        let certificate = authority.issue(&["web"], YEARS, key).pem() + &authority.pem();
        let text = format!("{certificate}{text}");
        for version in [&version::TLS12, &version::TLS13] {
            let server = Server::start(Some(asking(&authority, version)), |_| ok("known")).await;
            let client = Client::new(shown(), &world(&authority, certificate.clone(), text.clone()).context());
            let response = client.unwrap().send(get(server.url("https", "/"))).await;
            assert_eq!(self::text(&response.unwrap_or_else(|error| panic!("{name}: {error:?}"))), "known");
        }
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_client_differs_from_an_untrusted_server() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let strangers = Authority::named("another authority").issue(&["web"], YEARS, &key).pem();
    let expired = authority.issue(&["web"], (2020, 2021), &key).pem();
    for version in [&version::TLS12, &version::TLS13] {
        for (options, certificate, part) in [
            (options(), &strangers, "it asks for a client certificate"),
            (shown(), &strangers, "does not know the authority of our client certificate"),
            (shown(), &expired, "our client certificate has expired"),
        ] {
            let server = Server::start(Some(asking(&authority, version)), |_| ok("")).await;
            let context = world(&authority, certificate.as_str(), key.serialize_pem()).context();
            let client = Client::new(options, &context).unwrap();
            failed(client.send(get(server.url("https", "/"))).await, Denied, part);
            assert_eq!(server.requests(), Vec::<String>::new());
        }
    }
}

#[test]
fn unusable_files_are_errors_with_their_names() {
    let authority = Authority::new();
    let [key, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let certificate = authority.issue(&["web"], YEARS, &key).pem();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = format!(
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,{CANARY}\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"
    );
    let broken = |label: &str| format!("-----BEGIN {label}-----\n!{CANARY}!\n-----END {label}-----\n");
    let nonsense = |label: &str| pem(label, CANARY.as_bytes());
    for (certificate, key, part) in [
        (String::new(), key.serialize_pem(), "certificate of `/etc/ssl/client.pem`: there is none in it"),
        (key.serialize_pem(), key.serialize_pem(), "certificate of `/etc/ssl/client.pem`: there is none in it"),
        (certificate.clone() + &broken("CERTIFICATE"), key.serialize_pem(), "number 2 is not in PEM form"),
        (nonsense("CERTIFICATE"), key.serialize_pem(), "client.pem`: the first one in it cannot be read"),
        (certificate.clone(), CANARY.into(), "key of `/etc/ssl/client.key`: there is none in it"),
        (certificate.clone(), certificate.clone(), "client.key`: there is none in it"),
        (certificate.clone(), broken("PRIVATE KEY"), "client.key`: it is not in PEM form"),
        (certificate.clone(), nonsense("PRIVATE KEY"), "client.key`: TLS does not take a key of its kind"),
        (certificate.clone(), encrypted.into(), "client.key`: it is encrypted"),
        (certificate.clone(), old, "client.key`: it is encrypted"),
        (certificate.clone(), other.serialize_pem(), "it does not belong to the certificate of `/etc/ssl/client.pem`"),
    ] {
        let error = failed(Client::new(shown(), &world(&authority, certificate, key.clone()).context()), Denied, part);
        assert!(!error.message.contains(&key) || key.is_empty(), "{error:?}");
    }
    // The kind is not that of a missing secret, which could be optional.
    failed(Client::new(shown(), &World::trusting(&authority).context()), Denied, "`/etc/ssl/client.pem`: no such file");
}
