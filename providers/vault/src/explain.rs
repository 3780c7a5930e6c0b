//! What Vault's refusals mean, in our words.
//!
//! Of an answer's body only the `errors` strings of a status from 400 to 499 are looked at, and never printed: they select
//! one of the texts here. They may quote a request, and with it a credential.

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Response;
use serde::Deserialize;

/// What was attempted, for a text: ``cannot read `kv/web/db` ``.
pub struct Attempt<'a> {
    /// The verb: "read", "list", "write".
    pub verb: &'static str,
    /// The path as the user wrote it.
    pub path: &'a str,
    /// The path as a policy has it.
    pub policy_path: &'a str,
    /// What a policy must grant.
    pub capability: &'static str,
    /// The namespace of the request.
    pub namespace: Option<&'a str>,
}

impl Attempt<'_> {
    /// What was attempted.
    pub fn says(&self) -> String {
        format!("cannot {} `{}`", self.verb, self.path)
    }

    /// A failure of this attempt.
    pub fn failure(&self, kind: ErrorKind, why: &str) -> ProviderError {
        ProviderError::new(kind, format!("{}: {why}", self.says()))
    }

    /// What an answer that is no success means.
    pub fn refused(&self, response: &Response) -> ProviderError {
        if let Some(error) = unavailable(response, &self.says()) {
            return error;
        }
        let errors = errors(response);
        let says = |text: &str| errors.iter().any(|error| error.contains(text));
        match response.status() {
            400 if says("missing client token") => no_token(&self.says()),
            403 => self.denied(),
            404 if says("no handler for route") || says("route entry not found") => {
                let error = self.failure(ErrorKind::NotFound, "there is no such mount");
                match self.namespace {
                    Some(namespace) => error.hint(format!("it was looked for in the namespace `{namespace}`")),
                    None => error.hint("`namespace` or VAULT_NAMESPACE says in which namespace a mount is"),
                }
            }
            404 => self.failure(ErrorKind::NotFound, "there is no such secret"),
            405 => self.failure(ErrorKind::Malformed, "Vault does not allow that on this path"),
            _ => response.failure(&self.says()),
        }
    }

    fn denied(&self) -> ProviderError {
        let namespace = self.namespace.map(|name| format!(" in the namespace `{name}`")).unwrap_or_default();
        self.failure(ErrorKind::Denied, "permission denied").hint(format!(
            "the token's policies must have{namespace}: path \"{}\" {{ capabilities = [\"{}\"] }}",
            self.policy_path, self.capability
        ))
    }
}

/// No token where one is needed.
pub fn no_token(attempted: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, format!("{attempted}: no token was sent"))
        .hint("set VAULT_TOKEN, or `auth` in [providers.vault]")
}

/// What any request can run into, whatever it asks for: a Vault that does not serve for now.
pub fn unavailable(response: &Response, attempted: &str) -> Option<ProviderError> {
    let why = match response.status() {
        // developer.hashicorp.com/vault/api-docs/system/health has these for the health check; other requests get 503 with a
        // text, and 429 from a rate limit quota.
        429 => "Vault's rate limit is reached",
        472 | 473 => "this Vault is a standby, and hands requests on to nobody",
        501 => "Vault is not initialized",
        503 => {
            let errors = errors(response);
            let says = |text: &str| errors.iter().any(|error| error.contains(text));
            if says("Vault is sealed") {
                "Vault is sealed"
            } else if says("not yet initialized") || says("not initialized") {
                "Vault is not initialized"
            } else if says("standby") {
                "this Vault is a standby, and its leader does not answer"
            } else {
                return Some(response.failure(attempted));
            }
        }
        _ => return None,
    };
    let retry_after = response.retry_after();
    Some(ProviderError { retry_after, ..ProviderError::new(ErrorKind::Unavailable, format!("{attempted}: {why}")) })
}

/// The strings under `errors`, to be matched and never shown.
pub fn errors(response: &Response) -> Vec<String> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        errors: Vec<String>,
    }
    serde_json::from_slice::<Refusal>(response.body().expose()).map(|refusal| refusal.errors).unwrap_or_default()
}
