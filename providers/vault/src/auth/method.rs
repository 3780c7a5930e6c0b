//! What a way to log in is.

use std::time::Duration;

use handfast_core::{BoxFuture, Context, ProviderError, SecretValue};
use handfast_http::ClientCertificate;

use super::given::Given;
use crate::api::Api;

/// A login.
pub struct Login {
    /// The token of every request; none where an agent on the way puts its own in.
    pub token: Option<SecretValue>,
    /// Where the token comes from.
    pub origin: Origin,
    /// How long it lives, where that is known.
    pub duration: Option<Duration>,
    /// Whether it can be renewed, where that is known.
    pub renewable: bool,
}

/// Where a token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A login of ours: nobody else uses it, and Vault can end it.
    Own,
    /// A login of ours, whose token nothing can end before its time.
    OwnBatch,
    /// It was given to us by a variable: others may use it.
    Given,
    /// It was given to us in a file, where another may come.
    GivenInFile,
    /// An agent has it.
    Lent,
}

impl Origin {
    /// Whether Vault can end it, and nobody else uses it.
    pub fn can_be_revoked(self) -> bool {
        self == Self::Own
    }

    /// Whether it came of a login of ours.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Own | Self::OwnBatch)
    }
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

    /// Logs in. Called again where it failed, and before its token ends: what can be had once, such as what a wrapping token holds,
    /// is kept.
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>>;
}

/// A method's parts.
pub struct Definition {
    /// Its name: `method`.
    pub name: &'static str,
    /// The keys of `auth` that it takes, besides `method`.
    pub keys: &'static [&'static str],
    /// What it cannot do without.
    pub needs: &'static [Need],
    /// Reads its settings.
    pub read: fn(&Given<'_>) -> Box<dyn Method>,
}

/// What a method cannot do without. A credential is no need: whether it is there, the login tells.
pub struct Need {
    /// The keys of `auth` of which one says it.
    pub keys: &'static [&'static str],
    /// The variable that says it where there is no `auth`.
    pub variable: Option<&'static str>,
}

/// A role that has no default.
pub const ROLE: Need = Need { keys: &["role"], variable: Some("VAULT_ROLE") };

/// The name of a user, which no variable of Vault's says.
pub const USERNAME: Need = Need { keys: &["username"], variable: None };

/// Where a user's password is.
pub const PASSWORD: Need = Need { keys: &["password_file", "password_env"], variable: None };
