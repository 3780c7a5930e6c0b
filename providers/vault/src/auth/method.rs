//! The interface of a login method.

use std::time::Duration;

use handfast_core::{BoxFuture, Context, ProviderError, SecretValue};
use handfast_http::ClientCertificate;

use super::settings::AuthSettings;
use crate::api::Api;

/// The result of a login.
pub struct Login {
    /// The token for every request; `None` if an agent adds its own token.
    pub token: Option<SecretValue>,
    /// The source of the token.
    pub origin: Origin,
    /// Its lifetime, if known.
    pub duration: Option<Duration>,
    /// Whether it is known to be renewable.
    pub renewable: bool,
}

/// The source of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A login of handfast. Nobody else uses the token, and Vault can revoke it.
    Own,
    /// A login of handfast with a batch token, which cannot be revoked.
    OwnBatch,
    /// A variable, or a wrapping token. Others may use the token too.
    Provided,
    /// A file, whose content may be replaced. Others may use the token too.
    File,
    /// An agent, which adds the token.
    Agent,
}

impl Origin {
    /// Whether Vault can revoke the token, and nobody else uses it.
    pub fn can_be_revoked(self) -> bool {
        self == Self::Own
    }

    /// Whether the token comes from a login of handfast.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Own | Self::OwnBatch)
    }
}

/// A login method, with its settings.
pub trait Method {
    /// The client certificate for TLS, if the method uses one. It must be known before the first request.
    fn client_certificate(&self) -> Option<ClientCertificate> {
        None
    }

    /// The other provider whose identity it logs in with, if any.
    fn identity_of(&self) -> Option<&'static str> {
        None
    }

    /// Whether it connects to other servers than Vault, such as a cloud's metadata service.
    fn uses_other_servers(&self) -> bool {
        false
    }

    /// Logs in. Called again after a failure, and before the token expires. So the method must store anything that it can get
    /// only once, such as the content of a wrapping token.
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>>;
}

/// The definition of a method.
pub struct Definition {
    /// Its name: `method`.
    pub name: &'static str,
    /// The keys of `auth` that it accepts, in addition to `method`.
    pub keys: &'static [&'static str],
    /// Its required settings.
    pub needs: &'static [Need],
    /// Reads its settings.
    pub read: fn(&AuthSettings<'_>) -> Box<dyn Method>,
}

/// A required setting. Credentials are not among them, because only the login reads them.
pub struct Need {
    /// The keys of `auth`; one of them is required.
    pub keys: &'static [&'static str],
    /// The variable for it if there is no `auth`.
    pub variable: Option<&'static str>,
}

/// A role that has no default.
pub const ROLE: Need = Need { keys: &["role"], variable: Some("VAULT_ROLE") };

/// The name of a user. Vault has no variable for it.
pub const USERNAME: Need = Need { keys: &["username"], variable: None };

/// The file or variable with a user's password.
pub const PASSWORD: Need = Need { keys: &["password_file", "password_env"], variable: None };
