//! The errors for Vault's refusals, in handfast's own words.
//!
//! The `errors` strings in a refusal's body only select one of the texts here. They are never printed, because they may quote a
//! request, and with it a credential.

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Response;
use serde::Deserialize;

/// A request, for the text of its error: ``cannot read `kv/web/db` ``.
pub struct Attempt<'a> {
    /// The verb: "read", "list", "write".
    pub verb: &'static str,
    /// The path as the user wrote it.
    pub path: &'a str,
    /// The path in a policy.
    pub policy_path: &'a str,
    /// The capability that a policy must grant.
    pub capability: &'static str,
    /// The namespace of the request.
    pub namespace: Option<&'a str>,
    /// The hint for a path that has the prefix of KV 2: see [`prefix_hint`].
    pub prefix_hint: Option<&'a str>,
    /// Whether an agent adds the token.
    pub uses_agent: bool,
}

/// The hint for a path below a KV 2 mount that already has the prefix that handfast adds, as Vault's API and policies show it:
/// `secret/data/web/db`.
pub fn prefix_hint(mount: &str, rest: &str) -> Option<String> {
    let (prefix, rest) = rest.split_once('/').filter(|(prefix, _)| ["data", "metadata"].contains(prefix))?;
    let star = if rest.is_empty() || rest.ends_with('/') { "*" } else { "" };
    Some(format!("write `{mount}/{rest}{star}`: `{prefix}/` is Vault's own, and is put in for a KV 2 mount"))
}

impl Attempt<'_> {
    /// The start of an error's text.
    pub fn text(&self) -> String {
        format!("cannot {} `{}`", self.verb, self.path)
    }

    /// A failure of this attempt.
    pub fn failure(&self, kind: ErrorKind, why: &str) -> ProviderError {
        ProviderError::new(kind, format!("{}: {why}", self.text()))
    }

    /// The failure for a response without success.
    pub fn refused(&self, response: &Response) -> ProviderError {
        if let Some(error) = unavailable(response, &self.text()) {
            return error;
        }
        let errors = errors(response);
        let says = |text: &str| errors.iter().any(|error| error.contains(text));
        match response.status() {
            400 if says("missing client token") && self.uses_agent => no_token(&self.text()),
            400 if says("missing client token") => self
                .failure(ErrorKind::Denied, "no token has reached Vault")
                .hint("something on the way to Vault, such as a proxy, may take the header `X-Vault-Token` away"),
            400 => self.bad_request(&errors),
            403 if is_no_token(&errors) && self.uses_agent => no_token(&self.text()),
            403 if is_no_token(&errors) => invalid_token(&self.text()),
            403 => self.denied(),
            404 if says("unsupported path") => self.failure(ErrorKind::NotFound, "that mount has no such path"),
            404 if says("no handler for route") || says("route entry not found") => {
                let error = self.failure(ErrorKind::NotFound, "there is no such mount");
                match self.namespace {
                    Some(namespace) => error.hint(format!("it was looked for in the namespace `{namespace}`")),
                    None => error.hint("`namespace` or VAULT_NAMESPACE says in which namespace a mount is"),
                }
            }
            404 => self.failure(ErrorKind::NotFound, "there is no such secret"),
            405 => self.failure(ErrorKind::Malformed, "Vault does not allow that on this path").hint(match self.verb {
                "read" => "a path that is written to needs `params` in [secrets.NAME]",
                "list" => "this path has no list: name each secret by itself",
                _ => "a path that is read takes no `params`",
            }),
            _ => response.failure(&self.text()),
        }
    }

    /// A request that the mount refuses as invalid. Its engine's error strings select one of these texts.
    fn bad_request(&self, errors: &[String]) -> ProviderError {
        let says = |texts: &[&str]| {
            errors.iter().map(|error| error.to_lowercase()).any(|error| texts.iter().any(|text| error.contains(text)))
        };
        let role = says(&["unknown role"]) || (says(&["role \""]) && says(&["not found"]));
        match () {
            () if role => self.failure(ErrorKind::NotFound, "there is no such role"),
            () if says(&["key not found", "unknown key"]) => self.failure(ErrorKind::NotFound, "there is no such key"),
            () if says(&["not allowed by", "disallowed by"]) => self
                .failure(ErrorKind::Denied, "the role or key does not allow what `params` asks for")
                .hint("ask for less in `params`, or allow more there"),
            () if says(&["is required", "missing ", "must be provided", "must be specified"]) => {
                self.failure(ErrorKind::Malformed, "a parameter is missing").hint(
                    "`params` in [secrets.NAME] gives parameters: what the path needs is in its engine's documentation",
                )
            }
            () => self.failure(ErrorKind::Malformed, "Vault does not take the request as it is").hint(format!(
                "`vault {} {}`, with the same token and parameters, shows Vault's own words",
                self.verb, self.path
            )),
        }
    }

    fn denied(&self) -> ProviderError {
        let namespace = self.namespace.map(|name| format!(" in the namespace `{name}`")).unwrap_or_default();
        let right = format!(
            "the token's policies must have{namespace}: path \"{}\" {{ capabilities = [\"{}\"] }}",
            self.policy_path, self.capability
        );
        self.failure(ErrorKind::Denied, "permission denied").hint(match self.prefix_hint {
            Some(hint) => format!("{hint}; if the secret's name does start so, {right}"),
            None => right,
        })
    }
}

/// The failure if the agent adds no token that Vault accepts.
pub fn no_token(attempted: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, format!("{attempted}: the agent lends no token that Vault takes")).hint(
        "the agent needs `auto_auth`, and `use_auto_auth_token = true` in `cache` or `api_proxy`; its log says whether its own login works",
    )
}

/// Whether a 403 is about the token itself. For a missing permission, Vault's text is "1 error occurred: permission denied". For
/// an invalid token, newer versions add "invalid token".
pub fn is_no_token(errors: &[String]) -> bool {
    errors == ["permission denied"]
        || errors.iter().any(|error| error.contains("invalid token") || error.contains("bad token"))
}

/// The failure if Vault does not accept the token.
pub fn invalid_token(attempted: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, format!("{attempted}: Vault does not take the token")).hint(INVALID_TOKEN)
}

/// The possible reasons for which Vault does not accept a token. Its response does not name the reason.
pub const INVALID_TOKEN: &str = "the token has expired, was revoked, has no uses left (each request is one), is bound to other \
                                 addresses, or is another Vault's";

/// The failure if Vault is temporarily unavailable, which is possible for every request.
pub fn unavailable(response: &Response, attempted: &str) -> Option<ProviderError> {
    let why = match response.status() {
        // The health check has these status codes (developer.hashicorp.com/vault/api-docs/system/health). Other requests get 503
        // with a text, and 429 from a rate limit quota.
        429 => "a rate limit is reached",
        // A standby that has not yet received the data of the token (developer.hashicorp.com/vault/docs/enterprise/consistency).
        412 => "this Vault is a standby that lags behind the active one",
        400 if errors(response).iter().any(|error| error.contains("from non-versioned to versioned")) => {
            "the mount is being upgraded to KV 2"
        }
        472 | 473 => "this Vault is a standby, and hands requests on to nobody",
        500 | 503 => {
            let errors = errors(response);
            let says = |text: &str| errors.iter().any(|error| error.contains(text));
            if says("Vault is sealed") {
                SEALED
            } else if says("local node not active") || says("standby") {
                "this Vault is a standby, and there is no active one"
            } else if response.status() == 503 {
                return Some(response.failure(attempted));
            } else {
                // Some login methods use 500 for a refusal.
                return None;
            }
        }
        _ => return None,
    };
    let error = ProviderError::new(ErrorKind::Unavailable, format!("{attempted}: {why}"));
    let error = match why {
        SEALED => error.hint("it answers once it is unsealed, by `vault operator unseal` or by itself"),
        _ => error,
    };
    Some(ProviderError { retry_after: response.retry_after(), ..error })
}

const SEALED: &str = "Vault is sealed";

/// The strings in `errors`. They must not be shown.
pub fn errors(response: &Response) -> Vec<String> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        errors: Vec<String>,
    }
    serde_json::from_slice::<Refusal>(response.body().expose()).map(|refusal| refusal.errors).unwrap_or_default()
}

/// Whether the response is a KV 2 mount's, for a path without the prefix of KV 2. Such a response has a warning and no error.
pub fn is_versioned(response: &Response) -> bool {
    #[derive(Deserialize)]
    struct Missing {
        warnings: Option<Vec<String>>,
    }
    let warnings = serde_json::from_slice(response.body().expose()).ok().and_then(|Missing { warnings }| warnings);
    let is_about_versions = |warning: &String| warning.contains("for a versioned K/V secrets engine");
    response.status() == 404 && warnings.is_some_and(|warnings| warnings.iter().any(is_about_versions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_error_selects_a_text() {
        let attempt = Attempt {
            verb: "write",
            path: "m/x",
            policy_path: "m/x",
            capability: "update",
            namespace: None,
            prefix_hint: None,
            uses_agent: false,
        };
        let selected = |error: &str| {
            let error = attempt.bad_request(&[error.to_owned(), "hunter2".to_owned()]);
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
            (error.kind, error.message.strip_prefix("cannot write `m/x`: ").expect("it names the attempt").to_owned())
        };
        for (error, kind, text) in [
            ("unknown role: web", ErrorKind::NotFound, "there is no such role"),
            ("Unknown role: web", ErrorKind::NotFound, "there is no such role"),
            ("Role \"web\" not found", ErrorKind::NotFound, "there is no such role"),
            ("encryption key not found", ErrorKind::NotFound, "there is no such key"),
            ("common name x not allowed by this role", ErrorKind::Denied, REFUSED),
            ("ciphertext version is disallowed by policy (too old)", ErrorKind::Denied, REFUSED),
            ("the common_name field is required", ErrorKind::Malformed, "a parameter is missing"),
            ("missing ciphertext to decrypt", ErrorKind::Malformed, "a parameter is missing"),
            ("public_key must be provided", ErrorKind::Malformed, "a parameter is missing"),
            ("key must be specified", ErrorKind::Malformed, "a parameter is missing"),
            ("", ErrorKind::Malformed, "Vault does not take the request as it is"),
        ] {
            assert_eq!(selected(error), (kind, text.to_owned()), "{error}");
        }
    }

    const REFUSED: &str = "the role or key does not allow what `params` asks for";

    #[test]
    fn a_403_is_about_the_token_or_about_a_permission() {
        for (errors, about_the_token) in [
            (&["permission denied"][..], true),
            (&["bad token"], true),
            (&["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"], true),
            (&["1 error occurred:\n\t* permission denied\n\n"], false),
            (&["permission denied", "something else"], false),
            (&[], false),
        ] {
            let errors: Vec<String> = errors.iter().map(|error| (*error).to_owned()).collect();
            assert_eq!(is_no_token(&errors), about_the_token, "{errors:?}");
        }
    }
}
