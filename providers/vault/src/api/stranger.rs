//! Answers that are not Vault's: of a proxy on the way, a login page, another program. None of them may pass for "there is no
//! such secret", which may be optional.

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Refuses what Vault does not say. That a server does not serve for now may come from anything on the way, in any form.
pub fn refuse(response: &Response, scheme: &str) -> Result<(), ProviderError> {
    let body = response.body().expose().trim_ascii_start();
    let is_json = body.first() == Some(&b'{');
    let (kind, hint) = match response.status() {
        408 | 412 | 429 | 472 | 473 | 500.. => return Ok(()),
        404 if is_json && is_vaults(body) => return Ok(()),
        404 => (ErrorKind::Malformed, ELSEWHERE),
        _ if is_json || (body.is_empty() && response.is_success()) => return Ok(()),
        401 | 403 | 407 => (ErrorKind::Denied, "something on the way to Vault refuses the request, such as a proxy"),
        // What nginx answers there; Go's servers do not even say how long their answer is.
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

/// Whether it is something on the way that refuses a request: in JSON, but not in Vault's.
pub fn blocks(response: &Response) -> bool {
    matches!(response.status(), 400 | 403 | 405) && !is_vaults(response.body().expose())
}

/// Whether an answer about something that is not there has what each of Vault's has.
fn is_vaults(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Missing {
        errors: Option<IgnoredAny>,
        request_id: Option<IgnoredAny>,
    }
    serde_json::from_slice(body).is_ok_and(|Missing { errors, request_id }| errors.is_some() || request_id.is_some())
}

/// Where Vault may not be.
pub const ELSEWHERE: &str =
    "look at the address: what answers there may not be Vault but a proxy, a login page or another program";
