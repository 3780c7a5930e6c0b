//! How to log in. Each method has its [`Definition`] in a file of its name or kind: which keys it takes, and how it logs in.

mod approle;
mod aws;
mod azure;
mod cert;
mod gcp;
mod given;
mod jwt;
mod keys;
mod kubernetes;
mod metadata;
mod password;
mod refused;
mod token;
mod wrapping;

use std::time::Duration;

use handfast_core::{BoxFuture, Context, ErrorKind, ProviderError, SecretValue};
use handfast_http::ClientCertificate;
use rustify::endpoint::Endpoint;

use crate::api::{self, Answer, Api};

pub use given::read;
pub use keys::KEYS;
pub use wrapping::refused as unwrap_refused;

use given::Given;

/// A login.
pub struct Login {
    /// The token of every request; none where an agent on the way puts its own in.
    pub token: Option<SecretValue>,
    /// Whether it came of a login of ours, so that nobody else uses it, and Vault can end it.
    pub is_own: bool,
    /// How long it lives, where that is known.
    pub duration: Option<Duration>,
}

/// A way to log in, with its settings.
pub trait Method {
    /// What it shows in TLS, which has to be known before anything is sent.
    fn client_certificate(&self) -> Option<ClientCertificate> {
        None
    }

    /// The provider whose identity it shows.
    fn identity_of(&self) -> Option<&'static str> {
        None
    }

    /// Whether it asks somebody besides Vault, such as a cloud's metadata service.
    fn asks_others(&self) -> bool {
        false
    }

    /// Logs in. Called again only where it failed: what can be had once, such as what a wrapping token holds, is kept.
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>>;
}

/// A method's parts.
struct Definition {
    /// Its name: `method`.
    name: &'static str,
    /// The keys of `auth` that it takes, besides `method`.
    keys: &'static [&'static str],
    /// What it cannot do without.
    needs: &'static [Need],
    /// Reads its settings.
    read: fn(&Given<'_>) -> Box<dyn Method>,
}

/// What a method cannot do without. A credential is no need: whether it is there, the login tells.
struct Need {
    /// The keys of `auth` of which one says it.
    keys: &'static [&'static str],
    /// The variable that says it where there is no `auth`.
    variable: Option<&'static str>,
}

/// A role that has no default.
const ROLE: Need = Need { keys: &["role"], variable: Some("VAULT_ROLE") };

/// The name of a user, which no variable of Vault's says.
const USERNAME: Need = Need { keys: &["username"], variable: None };

/// Where a user's password is.
const PASSWORD: Need = Need { keys: &["password_file", "password_env"], variable: None };

/// The methods.
const METHODS: &[&Definition] = &[
    &token::DEFINITION,
    &approle::DEFINITION,
    &kubernetes::DEFINITION,
    &jwt::DEFINITION,
    &cert::DEFINITION,
    &password::USERPASS,
    &password::LDAP,
    &aws::DEFINITION,
    &azure::DEFINITION,
    &gcp::DEFINITION,
];

/// No login at all: an agent behind a Unix socket puts its own token into each request.
struct Agent;

impl Method for Agent {
    fn login<'a>(&'a self, _: &'a Api, _: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async { Ok(Login { token: None, is_own: false, duration: None }) })
    }
}

/// Nothing to log in with.
struct Nothing;

impl Method for Nothing {
    fn login<'a>(&'a self, _: &'a Api, _: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        let error = ProviderError::new(
            ErrorKind::Denied,
            "nothing to log in to Vault with: no `auth` in the configuration, and neither VAULT_TOKEN nor VAULT_AUTH_METHOD is set",
        );
        Box::pin(async {
            Err(error.hint("`auth = { method = \"kubernetes\", role = \"web\" }` in [providers.vault] is a start"))
        })
    }
}

/// Sends a login and reads its token. `method` is as in `auth`, `mount` where it is in Vault.
async fn exchange<E: Endpoint>(api: &Api, endpoint: &E, method: &str, mount: &str) -> Result<Login, ProviderError> {
    let attempted = attempt(method, mount);
    let response = api.send(endpoint, None).await?;
    if !response.is_success() || response.status() == 204 {
        return Err(refused::explain(&response, &attempted, method, api.namespace()));
    }
    let answer: Answer<'_> = api::of(&response, &attempted)?;
    match answer.auth {
        Some(auth) if !auth.token().is_empty() => {
            Ok(Login { duration: auth.duration(), token: Some(auth.token()), is_own: auth.can_be_revoked() })
        }
        Some(_) => Err(ProviderError::new(ErrorKind::Denied, format!("{attempted}: Vault asks for a second factor"))
            .hint("handfast has nobody to ask: take the login enforcement off this mount or role")),
        None => Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer has no token"))),
    }
}

fn attempt(method: &str, mount: &str) -> String {
    format!("cannot log in to Vault by `{method}` at `auth/{mount}`")
}
