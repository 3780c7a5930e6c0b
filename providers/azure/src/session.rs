//! Who we are to every vault: one token for each resource, shared by all who read.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use handfast_core::{Clock, ErrorKind, ProviderError};
use handfast_http::Once;

use crate::wire;

/// A credential and what it has been given.
pub struct Session {
    credential: Arc<dyn TokenCredential>,
    clock: Arc<dyn Clock>,
    tokens: Mutex<HashMap<String, Arc<Once<AccessToken>>>>,
    /// Whose tokens these are, for the log.
    whose: String,
    /// Whether there has been a token.
    is_taken: AtomicBool,
}

impl Session {
    /// A session that has asked for nothing yet.
    pub fn new(credential: Arc<dyn TokenCredential>, whose: String, clock: Arc<dyn Clock>) -> Self {
        Self { credential, clock, tokens: Mutex::default(), whose, is_taken: AtomicBool::new(false) }
    }

    /// The way that was taken, once there has been a token.
    pub fn identity(&self) -> Option<String> {
        self.is_taken.load(Ordering::Relaxed).then(|| self.whose.clone())
    }

    /// A token for this resource.
    pub async fn token(&self, resource: &str) -> Result<AccessToken, ProviderError> {
        let token = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.entry(resource.to_owned()).or_default().clone()
        };
        let scope = format!("{resource}/.default");
        let make = async {
            self.credential.get_token(&[&scope], None).await.map_err(|error| {
                match wire::unwrapped::<ProviderError>(&error) {
                    Some(ours) => ours.once_more(),
                    // The SDK's own: it could not read what it was given.
                    None => ProviderError::new(
                        ErrorKind::Malformed,
                        "cannot get a token of Entra ID: its answer is not what its interface promises",
                    )
                    .hint("look at `authority` and AZURE_AUTHORITY_HOST: what answers there may be something else"),
                }
            })
        };
        let token = token.get(|token| token.expires_on > self.clock.now(), make).await?;
        // Another identity may have been meant.
        if !self.is_taken.swap(true, Ordering::Relaxed) {
            handfast_core::tracing::info!(target: "handfast", "Azure credentials taken: {}", self.whose);
        }
        Ok(token)
    }
}

/// What a vault's client gets its tokens from: the session, for the vault's own resources alone. Whatever a challenge asks for,
/// no other token leaves.
pub struct Guarded {
    session: Arc<Session>,
    resources: Vec<String>,
}

impl Guarded {
    /// Tokens of the session for these resources.
    pub fn new(session: Arc<Session>, resources: Vec<String>) -> Self {
        Self { session, resources }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

/// A challenge that asks for a token that is not this vault's.
#[derive(Debug)]
pub struct Elsewhere;

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the challenge asks for a token for something else")
    }
}

impl std::error::Error for Elsewhere {}

#[async_trait]
impl TokenCredential for Guarded {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let asked = match scopes {
            [scope] => scope.strip_suffix("/.default").map(|resource| resource.trim_end_matches('/')),
            _ => None,
        };
        match self.resources.iter().find(|resource| Some(resource.as_str()) == asked) {
            Some(resource) => self.session.token(resource).await.map_err(wire::wrapped),
            None => Err(wire::wrapped(Elsewhere)),
        }
    }
}
