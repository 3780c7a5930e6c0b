//! The certificates of the authorities to trust, from the places where a user keeps them.

use std::fmt;
use std::path::{Path, PathBuf};

use handfast_core::{Context, ErrorKind, ProviderError};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Far larger than any real file: the certificates of all public authorities are about 250 KiB.
const LARGEST_CA_FILE: usize = 8 << 20;

/// A place with certificates in PEM form.
#[derive(Clone, PartialEq, Eq)]
pub enum CaSource {
    /// A file with one or more certificates.
    File(PathBuf),
    /// A directory: each file in it and in its subdirectories has one or more certificates.
    Directory(PathBuf),
    /// A setting whose value is the certificates themselves.
    Text {
        /// Its name, for an error.
        setting: &'static str,
        /// One or more certificates.
        pem: String,
    },
}

/// The root certificates that are trusted in addition to the user's (`ca`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Roots {
    /// Mozilla's list at the time of the build.
    #[default]
    Builtin,
    /// None.
    None,
}

pub(crate) const NOTHING_TRUSTED: &str = "`roots` is \"none\" and there is no `ca_file`: no server could be trusted";
pub(crate) const NOTHING_TRUSTED_HINT: &str = "name the file of your certificate authority in `ca_file`";

impl fmt::Debug for CaSource {
    /// Leaves out the text: a user may have put a private key there by mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Directory(path) => path.fmt(f),
            Self::Text { setting, .. } => f.write_str(setting),
        }
    }
}

/// The trusted certificates.
pub(crate) struct Trusted {
    /// The built-in roots, if they are trusted, and the user's certificates (`ca`).
    pub(crate) roots: RootCertStore,
    /// The user's certificates alone, as they were read.
    pub(crate) own: Vec<CertificateDer<'static>>,
}

/// Reads the trusted certificates. A source that cannot be used is an error: otherwise the user would only see later that a
/// server's certificate is refused, and not why.
pub(crate) fn trusted(builtin: Roots, ca: &[CaSource], context: &Context) -> Result<Trusted, ProviderError> {
    let mut trusted = Trusted { roots: RootCertStore::empty(), own: Vec::new() };
    match builtin {
        Roots::Builtin => trusted.roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::None if ca.is_empty() => {
            return Err(ProviderError::new(ErrorKind::Untrusted, NOTHING_TRUSTED).hint(NOTHING_TRUSTED_HINT));
        }
        Roots::None => {}
    }
    for source in ca {
        match source {
            CaSource::File(path) => add_file(&mut trusted, path, context)?,
            CaSource::Directory(path) => {
                let files = context.files.list(path).map_err(|error| error.of_needed_file(ErrorKind::Untrusted))?;
                if files.is_empty() {
                    return Err(unusable(&path.display(), "there are none in it"));
                }
                for file in files {
                    add_file(&mut trusted, &file, context)?;
                }
            }
            CaSource::Text { setting, pem } => add(&mut trusted, setting, pem.as_bytes())?,
        }
    }
    Ok(trusted)
}

fn add_file(trusted: &mut Trusted, path: &Path, context: &Context) -> Result<(), ProviderError> {
    let pem =
        context.files.read(path, None, LARGEST_CA_FILE).map_err(|error| error.of_needed_file(ErrorKind::Untrusted))?;
    add(trusted, &path.display(), pem.expose())
}

fn add(trusted: &mut Trusted, name: &dyn fmt::Display, pem: &[u8]) -> Result<(), ProviderError> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        count += 1;
        // The parser's own error would quote the file, which may contain a private key.
        let certificate = certificate.map_err(|_| unusable(name, &format!("number {count} is not in PEM form")))?;
        trusted
            .roots
            .add(certificate.clone())
            .map_err(|_| unusable(name, &format!("number {count} is not a certificate of an authority")))?;
        trusted.own.push(certificate);
    }
    if count == 0 {
        return Err(unusable(name, "there are none in it"));
    }
    Ok(())
}

fn unusable(name: &dyn fmt::Display, why: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Untrusted, format!("cannot trust the certificates of `{name}`: {why}"))
        .hint("expected one or more certificates, each from `-----BEGIN CERTIFICATE-----` on")
}
