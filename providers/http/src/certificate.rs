//! The errors for a refused server certificate, with hints for the owner of the server.

use handfast_core::Complaint;
use rustls::CertificateError;

use crate::address;
use crate::options::Options;
use crate::verify::webpki_error;

pub(crate) const CLOCK: &str = "renew the certificate, or check this machine's clock";
pub(crate) const NAME: &str = "use a name in the address that the certificate is for";
const ISSUER: &str = "name the file of its certificate authority in `ca_file`";

/// The object identifiers of algorithms, in the DER encoding that certificates use.
const SHA1: [&[u8]; 2] = [b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", b"\x2a\x86\x48\xce\x3d\x04\x01"];
const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
const ECDSA_SHA512: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x04";

/// The reason for refusing a certificate.
pub(crate) fn refused(why: &CertificateError, options: &Options) -> Complaint {
    let complaint = |why: &str, hint: &str| Complaint::new(why).hint(hint);
    match why {
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = about(time.as_secs().saturating_sub(not_after.as_secs()));
            complaint(&format!("its certificate expired {ago} ago, by this machine's clock"), CLOCK)
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let ahead = about(not_before.as_secs().saturating_sub(time.as_secs()));
            complaint(&format!("its certificate is valid only in {ahead}, by this machine's clock"), CLOCK)
        }
        CertificateError::Expired => complaint("its certificate has expired", CLOCK),
        CertificateError::NotValidYet => complaint("its certificate is not valid yet", CLOCK),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => complaint(
            "its certificate has no subject alternative name (SAN)",
            "a common name (CN) does not count: issue the certificate with the host of the address as its `subjectAltName`",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => wrong_name(why, options),
        CertificateError::BadSignature if options.danger_skip_verification => {
            Complaint::new("it does not hold the key of its certificate")
        }
        // A bad signature means another authority of the same name, such as the same authority with a new key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            complaint("its certificate is from an unknown authority", ISSUER)
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id: id, .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { signature_algorithm_id: id, .. }
            if SHA1.iter().any(|sha1| has(id, sha1)) =>
        {
            complaint("its certificate is signed with SHA-1, which can be forged", "issue it anew, signed with SHA-256")
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id: id, .. }
            if has(id, ECDSA_SHA512) =>
        {
            complaint(BY_P521, ANOTHER_KEY)
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { public_key_algorithm_id: id, .. }
            if has(id, P521) =>
        {
            complaint(BY_P521, ANOTHER_KEY)
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            complaint("its certificate is signed in a way that is not supported here", ANOTHER_KEY)
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => complaint(
            "its certificate is not valid for a server: its extended key usage leaves servers out",
            "issue it with `extendedKeyUsage = serverAuth`; a certificate for clients does not do",
        ),
        CertificateError::BadEncoding => complaint("its certificate cannot be read", SHOW_IT),
        CertificateError::Revoked => Complaint::new("its certificate is revoked"),
        _ => webpki_refusal(why),
    }
}

/// The reason for a refusal that only the library `webpki` has an error for, and rustls does not.
fn webpki_refusal(why: &CertificateError) -> Complaint {
    let complaint = |why: &str, hint: &str| Complaint::new(why).hint(hint);
    match webpki_error(why) {
        Some(webpki::Error::CaUsedAsEndEntity) => complaint(
            "its certificate says of itself that it is an authority's (CA:TRUE)",
            "name the file of exactly this certificate in `ca_file`, or issue one with `basicConstraints = CA:FALSE`",
        ),
        Some(webpki::Error::EndEntityUsedAsCa) => complaint(
            "its certificate is signed by one that is no authority's (CA:FALSE)",
            "the server's file needs the certificates between its own and the authority, in this order",
        ),
        Some(webpki::Error::UnsupportedCertVersion) => complaint(
            "its certificate is of X.509's version 1",
            "issue one of version 3, which has a `subjectAltName`: `openssl x509 -req` needs `-extfile` or `-copy_extensions` for it",
        ),
        Some(webpki::Error::NameConstraintViolation) => complaint(
            "its certificate is for a name that its authority may not certify (name constraints)",
            "ask the authority which names it is for",
        ),
        _ => complaint("its certificate is not valid for a server", SHOW_IT),
    }
}

const BY_P521: &str = "its certificate is signed with an ECDSA key on P-521, which is not supported here";
const ANOTHER_KEY: &str = "sign it with an RSA key of at least 2048 bits, an ECDSA key on P-256 or P-384, or an Ed25519 key, and SHA-256 or SHA-384";
const SHOW_IT: &str = "`openssl s_client -connect HOST:PORT -showcerts` shows it";

/// The refusal of a certificate for another name. The message may show its names, because a trusted authority has signed it.
fn wrong_name(why: &CertificateError, options: &Options) -> Complaint {
    if let Some(names) = &options.server_name {
        return Complaint::new(format!("its certificate is not for `{}`", names.name.escape_debug()));
    }
    let another = Complaint::new("its certificate is for another name");
    let CertificateError::NotValidForNameContext { expected, presented } = why else { return another.hint(NAME) };
    const MOST: usize = 5;
    let shown: Vec<String> = presented.iter().take(MOST).filter_map(|name| shown(name)).collect();
    let is_address = address::ip(&expected.to_str()).is_some();
    let ip_hint =
        if is_address { "; for an address it needs the address in its `subjectAltName`, as `IP:…`" } else { "" };
    match shown.is_empty() {
        true => another.hint(format!("{NAME}{ip_hint}")),
        false => {
            let more = if presented.len() > MOST { ", …" } else { "" };
            another.hint(format!("{NAME}: {}{more}{ip_hint}", shown.join(", ")))
        }
    }
}

/// Extracts a name from the library's form: `DnsName("vault.internal")`, `IpAddress(10.0.0.1)`.
fn shown(name: &str) -> Option<String> {
    let inner = name.strip_suffix(')')?;
    let text = inner.strip_prefix("DnsName(").or_else(|| inner.strip_prefix("IpAddress("))?.trim_matches('"');
    (text.len() <= 253).then(|| format!("`{}`", text.escape_debug()))
}

fn has(identifier: &[u8], algorithm: &[u8]) -> bool {
    identifier.windows(algorithm.len()).any(|window| window == algorithm)
}

/// A duration in its largest unit.
fn about(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
