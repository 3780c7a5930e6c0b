//! `cert`: the client certificate of the TLS connection.

use handfast_core::{BoxFuture, Context, ErrorKind, ProviderError};
use handfast_http::ClientCertificate;

use super::exchange::{attempt, exchange};
use super::method::{Definition, Login, Method};
use super::settings::AuthSettings;
use crate::api::{Api, endpoints};

// Without a role, Vault uses the first role that accepts the certificate.
pub const DEFINITION: Definition =
    Definition { name: "cert", keys: &["mount", "role", "cert_file", "key_file"], needs: &[], read };

struct Cert {
    mount: String,
    role: Option<String>,
    certificate: Option<ClientCertificate>,
    has_certificate: bool,
}

fn read(settings: &AuthSettings<'_>) -> Box<dyn Method> {
    let files = settings.string("cert_file").zip(settings.string("key_file"));
    let certificate =
        files.map(|(certificate, key)| ClientCertificate { certificate: certificate.into(), key: key.into() });
    Box::new(Cert {
        mount: settings.mount(),
        role: settings.text("role", "VAULT_ROLE"),
        has_certificate: certificate.is_some() || settings.environment().variable("VAULT_CLIENT_CERT").is_some(),
        certificate,
    })
}

impl Method for Cert {
    fn client_certificate(&self) -> Option<ClientCertificate> {
        self.certificate.clone()
    }

    fn login<'a>(&'a self, api: &'a Api, _: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            if !self.has_certificate {
                let attempted = attempt(DEFINITION.name, &self.mount);
                return Err(ProviderError::new(
                    ErrorKind::Denied,
                    format!("{attempted}: there is no client certificate"),
                )
                .hint("name its files in `cert_file` and `key_file`, or in VAULT_CLIENT_CERT and VAULT_CLIENT_KEY"));
            }
            let login = endpoints::CertLogin { mount: &self.mount, name: self.role.as_deref() };
            exchange(api, &login, DEFINITION.name, &self.mount).await
        })
    }
}
