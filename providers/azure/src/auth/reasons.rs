//! The errors for Entra ID's refusals, in handfast's own words. Only the error numbers in a response's body are read
//! (learn.microsoft.com/entra/identity-platform/reference-error-codes).

use std::path::PathBuf;
use std::time::SystemTime;

use handfast_core::{ErrorKind, Grace, ProviderError};
use handfast_http::Response;
use serde::Deserialize;

/// The credential in a request.
pub enum Proof {
    /// A client secret.
    Secret,
    /// A client certificate's signature.
    Certificate(PathBuf),
    /// The cluster's token.
    Federated(PathBuf),
}

/// The error numbers, each group with a reason and a hint.
const REASONS: &[(&[u32], &str, &str)] = &[
    (
        &[90002, 900_021, 900_023],
        "there is no such tenant",
        "look at `tenant_id` or AZURE_TENANT_ID, and at `cloud` and `authority`",
    ),
    (
        &[700_016],
        "there is no such application in this tenant",
        "look at `client_id` and `tenant_id`, or AZURE_CLIENT_ID and AZURE_TENANT_ID: the application may be another tenant's",
    ),
    (
        &[7_000_215],
        "the client secret is wrong",
        "it is the secret's value, not its id; a new line at its end is no part of it",
    ),
    (&[7_000_222], "the client secret has expired", "`az ad app credential reset` makes a new one"),
    (&[7_000_112, 7_000_114], "the application is disabled", "whoever administers the tenant can enable it"),
    (&[700_024], EXPIRED, "look at this machine's clock"),
    (
        UNMATCHED,
        "no federated credential of the application is for this token",
        "its issuer, subject and audience must be the token's: the cluster's OIDC issuer, `system:serviceaccount:<namespace>:<name>`, `api://AzureADTokenExchange`",
    ),
    (
        &[700_027, 700_030, 500_136],
        "the application does not know the certificate that has signed",
        "`az ad app credential reset --cert @app.pem --append` adds it",
    ),
    (
        &[5_002_738, 50013, 50027],
        "the assertion's signature is not valid",
        "the key must be the certificate's, and the token of an issuer that Entra ID reaches",
    ),
    (
        &[500_011, 650_057],
        "the tenant does not know Key Vault in this cloud",
        "look at `cloud`: each has a Key Vault of its own",
    ),
    (&[53003], "a conditional access policy forbids it", "whoever administers the tenant knows which"),
];

const EXPIRED: &str = "the assertion is not within its time";

/// Errors that may be temporary, because a new federated credential takes some seconds to reach all of Entra ID's servers.
const UNMATCHED: &[u32] = &[70021, 700_211, 700_212, 700_213, 700_223, 700_238];

/// Temporary errors.
const TEMPORARY: &[u32] = &[90006, 90033, 90055];

/// The error for a refusal at the time `now`.
pub fn explain(response: &Response, attempted: &str, proof: &Proof, grace: &Grace, now: SystemTime) -> ProviderError {
    #[derive(Deserialize)]
    struct Refusal {
        error_codes: Vec<u32>,
    }
    /// A refusal without numbers (RFC 6749, section 4.1.2.1).
    #[derive(Deserialize)]
    struct Named {
        error: String,
    }
    let named = serde_json::from_slice::<Named>(response.body().expose());
    if named.is_ok_and(|named| matches!(&*named.error, "temporarily_unavailable" | "server_error")) {
        return ProviderError { kind: ErrorKind::Unavailable, ..response.failure(attempted) };
    }
    if response.status() == 429 {
        let message = format!("{attempted}: Entra ID gets too many requests");
        let error = ProviderError::new(ErrorKind::Unavailable, message);
        return ProviderError { retry_after: response.retry_after(), ..error };
    }
    let codes = serde_json::from_slice(response.body().expose()).map(|Refusal { error_codes }| error_codes);
    let Ok(codes) = codes else {
        let error = response.failure(attempted);
        return match error.kind {
            ErrorKind::Unavailable => error,
            // Not `NotFound`, which would mean that the secret itself is missing. The secret may be optional.
            kind => {
                ProviderError { kind: if kind == ErrorKind::Denied { kind } else { ErrorKind::Malformed }, ..error }
                    .hint("look at `authority` and AZURE_AUTHORITY_HOST: what answers there may not be Entra ID")
            }
        };
    };
    if response.status() >= 500 || codes.iter().any(|code| TEMPORARY.contains(code)) {
        return ProviderError { kind: ErrorKind::Unavailable, ..response.failure(attempted) };
    }
    let numbers = codes.iter().map(|code| format!("AADSTS{code}")).collect::<Vec<_>>().join(", ");
    let known = REASONS.iter().find(|(known, ..)| codes.iter().any(|code| known.contains(code)));
    let (why, hint) = match (known, proof) {
        (Some((_, EXPIRED, _)), Proof::Federated(path)) => (
            format!("the token of `{}` has expired", path.display()),
            "the kubelet renews it as long as the pod runs; look at this machine's clock too",
        ),
        (Some((_, why, hint)), Proof::Certificate(path)) => (format!("{why} (`{}`)", path.display()), *hint),
        (Some((_, why, hint)), _) => ((*why).to_owned(), *hint),
        (None, _) => ("it refuses".to_owned(), "the number's meaning: https://login.microsoftonline.com/error"),
    };
    let kind = match codes.iter().any(|code| UNMATCHED.contains(code)) {
        true => grace.kind(now),
        false => ErrorKind::Denied,
    };
    ProviderError::new(kind, format!("{attempted}: {why} ({numbers})")).hint(hint)
}
