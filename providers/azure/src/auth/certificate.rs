//! A client certificate, whose key signs an assertion (learn.microsoft.com/entra/identity-platform/certificate-credentials). The
//! SDK's own credential needs OpenSSL; this one uses ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use handfast_core::{Clock, Complaint, Context, ErrorKind, ProviderError, SecretValue};
use handfast_http::Url;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

/// The files of the certificate and its key, which may be the same file.
pub struct Files {
    /// The certificate, in PEM form.
    pub certificate: PathBuf,
    /// Its key, in PEM form.
    pub key: PathBuf,
}

/// Signs assertions.
pub struct Signer {
    key: RsaKeyPair,
    header: String,
    client: String,
    endpoint: Url,
    clock: Arc<dyn Clock>,
}

/// Far larger than any real file: a certificate or a key has a few KiB.
const LARGEST_FILE: usize = 1 << 20;

/// The validity of an assertion, as in the SDK.
const LIFETIME: Duration = Duration::from_secs(300);

/// Whether a file has the name of a PFX file, which only libraries such as OpenSSL can read.
pub fn is_pfx(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("pfx") || end.eq_ignore_ascii_case("p12"))
}

/// The problem for a PFX file.
pub fn no_pfx() -> Complaint {
    Complaint::new("a PFX file cannot be read")
        .hint(format!("{CONVERT}; or use `workload-identity` or `managed-identity`"))
}

/// The problem for an encrypted key.
pub fn no_password() -> Complaint {
    Complaint::new("`AZURE_CLIENT_CERTIFICATE_PASSWORD` is set: an encrypted key cannot be read")
        .hint(format!("{CONVERT}, and unset the password"))
}

const CONVERT: &str =
    "`openssl pkcs12 -in app.pfx -nodes -out app.pem` writes what can be read, the certificate and its key in PEM form";

/// Reads the files of the certificate of an application, whose id is `client`.
pub fn signer(files: &Files, client: &str, endpoint: Url, context: &Context) -> Result<Signer, ProviderError> {
    let pem = read(&files.key, context)?;
    if pem.expose().windows(9).any(|word| word == b"ENCRYPTED") {
        return Err(unusable("key", &files.key, "it is encrypted"));
    }
    // The parser's own errors would quote the file.
    let key = match PrivateKeyDer::from_pem_slice(pem.expose()) {
        Ok(PrivateKeyDer::Pkcs8(der)) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        Ok(PrivateKeyDer::Pkcs1(der)) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        Ok(_) => return Err(unusable("key", &files.key, "it is not an RSA key, which is all that Entra ID takes")),
        Err(_) => return Err(unusable("key", &files.key, "there is none in PEM form in it")),
    };
    let key = key.map_err(|_| unusable("key", &files.key, "it is not an RSA key of 2048 to 4096 bits"))?;
    let certificate = certificate(&files.certificate, &key, context)?;
    // Entra ID finds the certificate by this thumbprint, for which it requires SHA-1. The signature does not depend on it.
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate));
    let header = json!({ "alg": "RS256", "typ": "JWT", "x5t": thumbprint });
    Ok(Signer {
        key,
        header: URL_SAFE_NO_PAD.encode(header.to_string()),
        client: client.to_owned(),
        endpoint,
        clock: context.clock.clone(),
    })
}

/// The key's own certificate. The file may contain a chain in any order, and Entra ID knows only the leaf certificate.
fn certificate(path: &Path, key: &RsaKeyPair, context: &Context) -> Result<CertificateDer<'static>, ProviderError> {
    let pem = read(path, context)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.expose()).flatten().collect();
    if certificates.is_empty() {
        return Err(unusable("certificate", path, "there is none in PEM form in it"));
    }
    // A certificate contains its public key in this form. Other certificates in the chain contain only hashes of it.
    let public = key.public_key().as_ref();
    let is_of_key = |certificate: &CertificateDer<'_>| certificate.windows(public.len()).any(|part| part == public);
    let found = certificates.into_iter().find(is_of_key);
    found.ok_or_else(|| unusable("certificate", path, "the key is of none of the certificates in it"))
}

impl Signer {
    /// A new assertion.
    pub fn assertion(&self) -> Result<String, ProviderError> {
        let no_random =
            || ProviderError::new(ErrorKind::Os, "cannot sign an assertion: the system gives no random numbers");
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).map_err(|_| no_random())?;
        let now = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({
            "aud": self.endpoint.as_str(), "iss": self.client, "sub": self.client, "jti": URL_SAFE_NO_PAD.encode(id),
            "nbf": now, "iat": now, "exp": now + LIFETIME.as_secs(),
        });
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).map_err(|_| no_random())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn read(path: &Path, context: &Context) -> Result<SecretValue, ProviderError> {
    context.files.read(path, None, LARGEST_FILE).map_err(|error| error.of_needed_file(ErrorKind::Denied))
}

fn unusable(what: &str, path: &Path, why: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, format!("cannot use the client {what} of `{}`: {why}", path.display()))
        .hint(CONVERT)
}
