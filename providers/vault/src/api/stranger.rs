//! Answers that are not Vault's: of a proxy on the way, a login page, another program. None of them may pass for "there is no
//! such secret", which may be optional.

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Response;

/// Refuses what Vault does not say. That a server does not serve for now may come from anything on the way, in any form.
pub fn refuse(response: &Response, scheme: &str) -> Result<(), ProviderError> {
    let body = response.body().expose().trim_ascii_start();
    let is_vaults = body.first() == Some(&b'{') || (body.is_empty() && response.is_success());
    let (kind, hint) = match response.status() {
        _ if is_vaults => return Ok(()),
        408 | 429 | 500.. => return Ok(()),
        401 | 403 | 407 => (ErrorKind::Denied, "something on the way to Vault refuses the request, such as a proxy"),
        // What Go's servers answer there, and nginx; others answer in TLS.
        400 if scheme == "http" => {
            (ErrorKind::Untrusted, "if that port speaks TLS, the address starts with `https://`")
        }
        _ => (ErrorKind::Malformed, ELSEWHERE),
    };
    let html = response.header("content-type").is_some_and(|media| media.trim_start().starts_with("text/html"));
    let form = if html { "an HTML page" } else { "something else than JSON" };
    let message = format!("cannot ask {}: it answered {} with {form}", response.peer(), response.status());
    Err(ProviderError::new(kind, message).hint(hint))
}

/// Where Vault may not be.
pub const ELSEWHERE: &str =
    "look at the address: what answers there may not be Vault but a proxy, a login page or another program";
