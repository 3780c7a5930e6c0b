//! Whom to trust: the certificates of authorities, from wherever a user keeps them.

use std::fmt;
use std::path::{Path, PathBuf};

use handfast_core::{Context, ErrorKind, ProviderError};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Far above any real bundle: all of the web's certificate authorities are about 250 KiB.
const LARGEST_CA_FILE: usize = 8 << 20;

/// Where certificates in PEM form stand.
#[derive(Clone, PartialEq, Eq)]
pub enum CaSource {
    /// A file of one or more.
    File(PathBuf),
    /// A directory: each file in it, and in those below it, has one or more.
    Directory(PathBuf),
    /// A setting that has the text itself.
    Text {
        /// Its name, for an error.
        setting: &'static str,
        /// One or more.
        pem: String,
    },
}

/// Which certificates are trusted besides those of `ca`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Roots {
    /// Mozilla's, as of the build.
    #[default]
    Builtin,
    /// None.
    None,
}

pub(crate) const NOTHING_TRUSTED: &str = "`roots` is \"none\" and there is no `ca_file`: no server could be trusted";
pub(crate) const NOTHING_TRUSTED_HINT: &str = "name the file of your certificate authority in `ca_file`";

impl fmt::Debug for CaSource {
    /// Not the text: where a certificate should be, a key may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Directory(path) => path.fmt(f),
            Self::Text { setting, .. } => f.write_str(setting),
        }
    }
}

/// Whom to trust.
pub(crate) struct Trusted {
    /// The authorities: the built-in ones or none, and those of `ca`.
    pub(crate) roots: RootCertStore,
    /// The certificates of `ca`, as they are.
    pub(crate) own: Vec<CertificateDer<'static>>,
}

/// Reads whom to trust. A source that cannot be used is an error: an authority that silently does not count would be looked for
/// in vain.
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
        // The reader's own error would quote the file, which may hold a key.
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
