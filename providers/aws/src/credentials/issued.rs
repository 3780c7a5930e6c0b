//! The JSON response with keys from AWS's local services.

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Response;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::keys::{Keys, time};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Issued {
    access_key_id: Zeroizing<String>,
    secret_access_key: Zeroizing<String>,
    #[serde(default)]
    token: Zeroizing<String>,
    #[serde(default)]
    expiration: Option<String>,
}

/// The response if a service has no keys for the role. Its status is 200 too.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    code: String,
}

/// Reads the keys from a response.
pub fn keys(response: &Response, attempted: &str) -> Result<Keys, ProviderError> {
    let body = response.body().expose();
    let issued: Issued = match serde_json::from_slice(body) {
        Ok(issued) => issued,
        Err(_) if serde_json::from_slice::<Failed>(body).is_ok_and(|failed| failed.code != "Success") => {
            let message = format!("{attempted}: {} gets no keys for the role", response.peer());
            return Err(ProviderError::new(ErrorKind::Denied, message)
                .hint("the role must be there still, and its trust policy must name the service that runs this"));
        }
        Err(_) => {
            let message = format!("{attempted}: the answer of {} holds no keys", response.peer());
            return Err(ProviderError::new(ErrorKind::Malformed, message));
        }
    };
    let secret = |text: &Zeroizing<String>| text.as_bytes().to_vec().into();
    Ok(Keys {
        id: issued.access_key_id.to_string(),
        secret: secret(&issued.secret_access_key),
        session_token: (!issued.token.is_empty()).then(|| secret(&issued.token)),
        expires: issued.expiration.as_deref().and_then(time),
    })
}
