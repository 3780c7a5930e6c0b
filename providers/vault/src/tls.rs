//! Vault's own variables for TLS (developer.hashicorp.com/vault/docs/commands#environment-variables). The keys of
//! `[providers.vault]` take precedence.

use handfast_core::{Complaint, Environment, Table, excerpt};
use handfast_http::{Address, CaSource, ClientCertificate, Options, ServerName};

/// Reads the variables into `options`. Adds problems with them to `missing`.
pub fn read(
    table: &Table,
    environment: &dyn Environment,
    address: Option<&Address>,
    options: &mut Options,
    missing: &mut Vec<Complaint>,
) {
    options.client_certificate =
        match (environment.variable("VAULT_CLIENT_CERT"), environment.variable("VAULT_CLIENT_KEY")) {
            (Some(certificate), Some(key)) => {
                Some(ClientCertificate { certificate: certificate.into(), key: key.into() })
            }
            (None, None) => None,
            (certificate, _) => {
                let (present, missing_one) = match certificate {
                    Some(_) => ("VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"),
                    None => ("VAULT_CLIENT_KEY", "VAULT_CLIENT_CERT"),
                };
                let message = format!("`{present}` is set and `{missing_one}` is not");
                missing.push(Complaint::new(message).hint("a client certificate needs both files"));
                None
            }
        };
    let host = address.and_then(|address| address.url.host_str());
    options.server_name = environment
        .variable("VAULT_TLS_SERVER_NAME")
        .zip(host)
        .map(|(name, host)| ServerName { host: host.to_owned(), name: name.to_owned() });
    let skip = skips(environment, missing);
    options.danger_skip_verification = table.boolean("danger_skip_tls_verify").unwrap_or(false);
    if skip && !options.danger_skip_verification {
        missing
            .push(Complaint::new("`VAULT_SKIP_VERIFY` is set: any server would be taken for Vault").hint(
                "unset it and name the authority's file in VAULT_CACERT; or set `danger_skip_tls_verify = true`",
            ));
    }
}

/// The authorities that the variables name. As in Vault's own client, the first variable that is set counts.
pub fn authorities(environment: &dyn Environment) -> Option<CaSource> {
    if let Some(path) = environment.variable("VAULT_CACERT") {
        Some(CaSource::File(path.into()))
    } else if let Some(pem) = environment.variable("VAULT_CACERT_BYTES") {
        Some(CaSource::Text { setting: "VAULT_CACERT_BYTES", pem: pem.to_owned() })
    } else {
        environment.variable("VAULT_CAPATH").map(|path| CaSource::Directory(path.into()))
    }
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
fn skips(environment: &dyn Environment, missing: &mut Vec<Complaint>) -> bool {
    match environment.variable("VAULT_SKIP_VERIFY") {
        None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some(other) => {
            let message = format!("`VAULT_SKIP_VERIFY` is \"{}\", expected a boolean", excerpt(other));
            missing.push(Complaint::new(message).hint("unset it"));
            false
        }
    }
}
