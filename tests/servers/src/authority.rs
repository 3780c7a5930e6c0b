//! A certificate authority of the tests, and the certificates that it issues.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::directory::Directory;

/// A name that nobody resolves, for tests with name servers of their own.
pub const NAME: &str = "store.example";

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM form.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// Creates an authority.
    pub fn new() -> Self {
        Self::named("handfast test authority")
    }

    /// Creates an authority with this name.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("the system has randomness");
        Self(CertifiedIssuer::self_signed(params, key).expect("the parameters are good"))
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for a server on this machine: `127.0.0.1`, `localhost`, and [`NAME`].
    pub fn server(&self) -> Identity {
        self.server_for(&["127.0.0.1", "localhost", NAME], (2020, 2099))
    }

    /// Issues a certificate for a server with these names. It is valid from the beginning of the first year to the beginning of
    /// the second year.
    pub fn server_for(&self, names: &[&str], years: (i32, i32)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.certify(names, "handfast test server", years, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a certificate for a client with this name.
    pub fn client(&self, name: &str) -> Identity {
        self.certify(vec![name.to_owned()], name, (2020, 2099), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn certify(&self, names: Vec<String>, name: &str, years: (i32, i32), usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = CertificateParams::new(names).expect("the names are good");
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        params.extended_key_usages.push(usage);
        let key = KeyPair::generate().expect("the system has randomness");
        let certificate = params.signed_by(&key, &self.0).expect("the parameters are good");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    /// Writes `NAME.pem` and `NAME.key`. Returns their paths.
    pub fn write(&self, directory: &Directory, name: &str) -> (String, String) {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        directory.write(&certificate, &self.certificate);
        directory.write(&key, &self.key);
        (directory.file(&certificate), directory.file(&key))
    }

    /// The TLS configuration of a test server with this identity.
    pub fn tls(&self) -> ServerConfig {
        let (certificates, key) = self.parsed();
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("the key is the certificate's")
    }

    pub(crate) fn parsed(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (certificates(&self.certificate), PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("it is our PEM"))
    }
}

pub(crate) fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("it is PEM")
}
