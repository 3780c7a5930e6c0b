//! The TLS configuration: TLS 1.2 and 1.3 with ring. It never uses the process's default configuration.

use std::sync::Arc;

use handfast_core::{Context, ErrorKind, ProviderError};
use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;

use crate::authorities::{Trusted, trusted};
use crate::options::Options;
use crate::server_name::Alias;
use crate::verify::{Unverified, Verified};

/// The configuration for these options.
pub(crate) fn configuration(
    options: &Options,
    alias: Option<&Alias>,
    context: &Context,
) -> Result<ClientConfig, ProviderError> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(ring.clone())
        .with_safe_default_protocol_versions()
        .map_err(|_| ProviderError::new(ErrorKind::Os, "cannot set up TLS: no protocol version is usable"))?;
    let verifier: Arc<dyn ServerCertVerifier> = match options.danger_skip_verification {
        true => Arc::new(Unverified(ring.signature_verification_algorithms)),
        false => {
            let Trusted { roots, own } = trusted(options.roots, &options.ca, context)?;
            let standard = WebPkiServerVerifier::builder_with_provider(roots.into(), ring)
                .build()
                .map_err(|_| ProviderError::new(ErrorKind::Untrusted, "cannot set up TLS: nothing is trusted"))?;
            let renamed = alias.map(|alias| (alias.host.clone(), alias.name.clone()));
            Arc::new(Verified { standard, own, renamed })
        }
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut configuration = match &options.client_certificate {
        Some(certificate) => builder.with_client_cert_resolver(certificate.read(context)?),
        None => builder.with_no_client_auth(),
    };
    if options.http2 && alias.is_none() {
        configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(configuration)
}
