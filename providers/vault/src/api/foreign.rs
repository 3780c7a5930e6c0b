//! Responses that are not from Vault, but from a proxy, a login page or another program. None of them may count as a missing
//! secret, because the secret may be optional.

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Refuses a response that Vault does not send. A temporary failure is accepted in any form, because it may come from a proxy.
pub fn refuse(response: &Response, scheme: &str) -> Result<(), ProviderError> {
    let body = response.body().expose().trim_ascii_start();
    let is_json = body.first() == Some(&b'{');
    let (kind, hint) = match response.status() {
        408 | 412 | 429 | 472 | 473 | 500.. => return Ok(()),
        404 if is_json && is_vaults(body) => return Ok(()),
        404 => (ErrorKind::Malformed, ELSEWHERE),
        _ if is_json || (body.is_empty() && response.is_success()) => return Ok(()),
        401 | 403 | 407 => (ErrorKind::Denied, "something on the way to Vault refuses the request, such as a proxy"),
        // nginx sends this response to an unencrypted request on a TLS port. (handfast-http refuses the response of servers in
        // Go.)
        400 if scheme == "http" => {
            (ErrorKind::Untrusted, "if that port speaks TLS, the address starts with `https://`")
        }
        _ => (ErrorKind::Malformed, ELSEWHERE),
    };
    let html = response.header("content-type").is_some_and(|media| media.trim_start().starts_with("text/html"));
    let form = match (is_json, html) {
        (true, _) => "JSON that is not Vault's",
        (false, true) => "an HTML page",
        (false, false) => "something else than JSON",
    };
    let message = format!("cannot ask {}: it answered {} with {form}", response.peer(), response.status());
    Err(ProviderError::new(kind, message).hint(hint))
}

/// Whether a proxy has refused the request, with JSON that is not Vault's.
pub fn blocks(response: &Response) -> bool {
    matches!(response.status(), 400 | 403 | 405) && !is_vaults(response.body().expose())
}

/// Whether the body has a field that every response of Vault about a missing path has.
fn is_vaults(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Missing {
        errors: Option<IgnoredAny>,
        request_id: Option<IgnoredAny>,
    }
    serde_json::from_slice(body).is_ok_and(|Missing { errors, request_id }| errors.is_some() || request_id.is_some())
}

/// The hint that another program than Vault may be at the address.
pub const ELSEWHERE: &str =
    "look at the address: what answers there may not be Vault but a proxy, a login page or another program";
