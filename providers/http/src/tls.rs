//! What is trusted: one explicit TLS configuration, never the process' default one.

use std::path::Path;
use std::sync::Arc;

use handfast_core::{Context, ErrorKind, ProviderError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::options::{NOTHING_TRUSTED, NOTHING_TRUSTED_HINT, Options, Roots};

/// Far above any real bundle: all of the web's certificate authorities are about 250 KiB.
const LARGEST_CA_FILE: usize = 8 << 20;

/// The configuration that options ask for: the roots, TLS 1.2 and 1.3, no client certificate.
pub(crate) fn configuration(options: &Options, context: &Context) -> Result<ClientConfig, ProviderError> {
    let mut roots = RootCertStore::empty();
    match (options.roots, &options.ca_file) {
        (Roots::Builtin, _) => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        (Roots::None, Some(_)) => {}
        (Roots::None, None) => {
            return Err(ProviderError::new(ErrorKind::Untrusted, NOTHING_TRUSTED).hint(NOTHING_TRUSTED_HINT));
        }
    }
    if let Some(path) = &options.ca_file {
        add_file(&mut roots, path, context)?;
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|_| ProviderError::new(ErrorKind::Os, "cannot set up TLS: no protocol version is usable"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Adds the certificates of a user's file. One that cannot be used is an error: a certificate authority that silently does
/// not count would be looked for in vain.
fn add_file(roots: &mut RootCertStore, path: &Path, context: &Context) -> Result<(), ProviderError> {
    let untrusted = |why: String| {
        ProviderError::new(
            ErrorKind::Untrusted,
            format!("cannot trust the certificates of `{}`: {why}", path.display()),
        )
        .hint("`ca_file` is a file of one or more certificates, each from `-----BEGIN CERTIFICATE-----` on")
    };
    let pem = context.files.read(path, None, LARGEST_CA_FILE).map_err(|error| match error.kind {
        // Not `NotFound`: that would be a missing secret, which may be optional.
        ErrorKind::NotFound | ErrorKind::Malformed => ProviderError { kind: ErrorKind::Untrusted, ..error },
        _ => error,
    })?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.expose()) {
        count += 1;
        // The reader's own error would quote the file, which may hold a key.
        let certificate = certificate.map_err(|_| untrusted(format!("number {count} is not in PEM form")))?;
        roots
            .add(certificate)
            .map_err(|_| untrusted(format!("number {count} is not a certificate of an authority")))?;
    }
    if count == 0 {
        return Err(untrusted("there are none in it".into()));
    }
    Ok(())
}
