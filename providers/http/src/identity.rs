//! The identity of this client in TLS: a client certificate and its key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use handfast_core::{Context, ErrorKind, ProviderError, SecretValue};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use zeroize::Zeroizing;

/// Far larger than any real file: a chain of certificates or a key has a few KiB.
const LARGEST_FILE: usize = 1 << 20;

/// A client certificate. Every server that requests a certificate gets it, whichever authorities the server names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// A file in PEM form: the certificate, then the intermediate certificates.
    pub certificate: PathBuf,
    /// A file in PEM form with its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

impl ClientCertificate {
    /// Reads both files. Each failure is [`Denied`](ErrorKind::Denied), as for any other credential.
    pub(crate) fn read(&self, context: &Context) -> Result<Arc<SingleCertAndKey>, ProviderError> {
        let chain = chain(&self.certificate, &read(&self.certificate, context)?)?;
        let key = private_key(&self.key, &read(&self.key, context)?)?;
        let key = any_supported_type(&key).map_err(|_| {
            unusable("key", &self.key, "TLS does not take a key of its kind")
                .hint("RSA with 2048 to 4096 bits, ECDSA on P-256 or P-384, and Ed25519 can be used")
        })?;
        let identity = CertifiedKey::new(chain, key);
        match identity.keys_match() {
            Ok(()) => Ok(Arc::new(SingleCertAndKey::from(identity))),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let why = format!("it does not belong to the certificate of `{}`", self.certificate.display());
                Err(unusable("key", &self.key, &why))
            }
            Err(_) => Err(unusable("certificate", &self.certificate, "the first one in it cannot be read")),
        }
    }
}

fn read(path: &Path, context: &Context) -> Result<SecretValue, ProviderError> {
    context.files.read(path, None, LARGEST_FILE).map_err(|error| error.of_needed_file(ErrorKind::Denied))
}

fn chain(path: &Path, pem: &SecretValue) -> Result<Vec<CertificateDer<'static>>, ProviderError> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.expose()) {
        // The parser's own error would quote the file, which may contain a private key.
        let number = chain.len() + 1;
        chain.push(
            certificate.map_err(|_| unusable("certificate", path, &format!("number {number} is not in PEM form")))?,
        );
    }
    match chain.is_empty() {
        true => Err(unusable("certificate", path, "there is none in it")),
        false => Ok(chain),
    }
}

fn private_key(path: &Path, pem: &SecretValue) -> Result<Zeroizing<PrivateKeyDer<'static>>, ProviderError> {
    // Both forms of an encrypted key have this word: `BEGIN ENCRYPTED PRIVATE KEY` and `Proc-Type: 4,ENCRYPTED`.
    if pem.expose().windows(9).any(|word| word == b"ENCRYPTED") {
        return Err(unusable("key", path, "it is encrypted")
            .hint("keep it unencrypted where only handfast reads it: `openssl pkey` writes it so"));
    }
    PrivateKeyDer::from_pem_slice(pem.expose()).map(Zeroizing::new).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => unusable("key", path, "there is none in it"),
        _ => unusable("key", path, "it is not in PEM form"),
    })
}

fn unusable(what: &str, path: &Path, why: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, format!("cannot use the client {what} of `{}`: {why}", path.display()))
}
