//! Who we are to a server that asks: a client certificate and its key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use handfast_core::{Context, ErrorKind, ProviderError, SecretValue};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use zeroize::Zeroizing;

/// Far above any real one: a chain of certificates or a key is a few KiB.
const LARGEST_FILE: usize = 1 << 20;

/// A client certificate, shown to every server that asks for one, whichever authorities it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// A file in PEM form: the certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// A file in PEM form with its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

impl ClientCertificate {
    /// Reads both. Each failure is [`Denied`](ErrorKind::Denied): without them we are nobody.
    pub(crate) fn read(&self, context: &Context) -> Result<Arc<SingleCertAndKey>, ProviderError> {
        let chain = chain(&self.certificate, &read(&self.certificate, context)?)?;
        let key = private_key(&self.key, &read(&self.key, context)?)?;
        let key = any_supported_type(&key).map_err(|_| {
            no_use("key", &self.key, "TLS does not take a key of its kind")
                .hint("RSA with 2048 to 4096 bits, ECDSA on P-256 or P-384, and Ed25519 can be used")
        })?;
        let identity = CertifiedKey::new(chain, key);
        match identity.keys_match() {
            Ok(()) => Ok(Arc::new(SingleCertAndKey::from(identity))),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let why = format!("it does not belong to the certificate of `{}`", self.certificate.display());
                Err(no_use("key", &self.key, &why))
            }
            Err(_) => Err(no_use("certificate", &self.certificate, "the first one in it cannot be read")),
        }
    }
}

fn read(path: &Path, context: &Context) -> Result<SecretValue, ProviderError> {
    context.files.read(path, None, LARGEST_FILE).map_err(|error| error.of_needed_file(ErrorKind::Denied))
}

fn chain(path: &Path, pem: &SecretValue) -> Result<Vec<CertificateDer<'static>>, ProviderError> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.expose()) {
        // The reader's own error would quote the file, which may hold a key.
        let number = chain.len() + 1;
        chain.push(
            certificate.map_err(|_| no_use("certificate", path, &format!("number {number} is not in PEM form")))?,
        );
    }
    match chain.is_empty() {
        true => Err(no_use("certificate", path, "there is none in it")),
        false => Ok(chain),
    }
}

fn private_key(path: &Path, pem: &SecretValue) -> Result<Zeroizing<PrivateKeyDer<'static>>, ProviderError> {
    // In both of its forms, `BEGIN ENCRYPTED PRIVATE KEY` and `Proc-Type: 4,ENCRYPTED`.
    if pem.expose().windows(9).any(|word| word == b"ENCRYPTED") {
        return Err(no_use("key", path, "it is encrypted")
            .hint("keep it unencrypted where only handfast reads it: `openssl pkey` writes it so"));
    }
    PrivateKeyDer::from_pem_slice(pem.expose()).map(Zeroizing::new).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => no_use("key", path, "there is none in it"),
        _ => no_use("key", path, "it is not in PEM form"),
    })
}

fn no_use(what: &str, path: &Path, why: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, format!("cannot use the client {what} of `{}`: {why}", path.display()))
}
