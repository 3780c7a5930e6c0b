//! Sends a login to Vault, and reads the token from the response.

use handfast_core::{ErrorKind, ProviderError};
use rustify::endpoint::Endpoint;

use super::method::{Login, Origin};
use super::reasons;
use crate::api::{self, Answer, Api};

/// Sends a login and reads its token. `method` is the name in `auth`, `mount` the method's mount in Vault.
pub async fn exchange<E: Endpoint>(api: &Api, endpoint: &E, method: &str, mount: &str) -> Result<Login, ProviderError> {
    let attempted = attempt(method, mount);
    let response = api.send(endpoint, None).await?;
    if !response.is_success() || response.status() == 204 {
        return Err(reasons::explain(&response, &attempted, method, api.namespace()));
    }
    let answer: Answer<'_> = api::of(&response, &attempted)?;
    match answer.auth {
        Some(auth) if !auth.token().is_empty() => {
            let origin = if auth.can_be_revoked() { Origin::Own } else { Origin::OwnBatch };
            let (duration, renewable) = (auth.duration(), auth.renewable());
            Ok(Login { token: Some(auth.token()), origin, duration, renewable })
        }
        Some(_) => Err(ProviderError::new(ErrorKind::Denied, format!("{attempted}: Vault asks for a second factor"))
            .hint("handfast has nobody to ask: take the login enforcement off this mount or role")),
        None => Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer has no token"))),
    }
}

pub fn attempt(method: &str, mount: &str) -> String {
    format!("cannot log in to Vault by `{method}` at `auth/{mount}`")
}
