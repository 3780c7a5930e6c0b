//! Who we are to every vault: one token for each resource, shared by all who read.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use handfast_core::{Clock, ErrorKind, ProviderError};
use handfast_http::Once;

use crate::auth::{self, Method, Outside};
use crate::wire;

/// A way to get tokens, and those that it has given.
pub struct Session {
    method: Method,
    outside: Outside,
    /// The credential for the first token. Each later token needs a new credential, because the files may have changed.
    first: RefCell<Option<Arc<dyn TokenCredential>>>,
    tokens: Arc<Tokens>,
    /// Whether there has been a token.
    is_taken: Cell<bool>,
}

impl Session {
    /// A session that has asked for nothing yet.
    pub fn new(method: Method, outside: Outside) -> Result<Self, ProviderError> {
        let first = RefCell::new(Some(auth::credential(&method, &outside, false)?));
        let tokens = Tokens { clock: outside.context.clock.clone(), by_resource: Mutex::default() };
        Ok(Self { method, outside, first, tokens: Arc::new(tokens), is_taken: Cell::new(false) })
    }

    /// The way that was taken, once there has been a token.
    pub fn identity(&self) -> Option<String> {
        self.is_taken.get().then(|| self.method.described())
    }

    /// A token for this resource.
    pub async fn token(&self, resource: &str) -> Result<Arc<AccessToken>, ProviderError> {
        self.tokens.of(resource).get(|token| self.tokens.serves(token), self.ask(resource)).await
    }

    /// A token in place of one that a vault no longer accepts. It is asked for once, even if many requests have the refused token.
    pub async fn other(&self, resource: &str, refused: &Arc<AccessToken>) -> Result<Arc<AccessToken>, ProviderError> {
        let serves = |token: &Arc<AccessToken>| !Arc::ptr_eq(token, refused) && self.tokens.serves(token);
        self.tokens.of(resource).get(serves, self.ask(resource)).await
    }

    async fn ask(&self, resource: &str) -> Result<Arc<AccessToken>, ProviderError> {
        let first = self.first.take();
        let credential = match first {
            Some(credential) => credential,
            None => auth::credential(&self.method, &self.outside, self.is_taken.get())?,
        };
        let scope = format!("{resource}/.default");
        let token = credential.get_token(&[&scope], None).await.map_err(|error| {
            match wire::unwrapped::<ProviderError>(&error) {
                Some(ours) => ours.once_more(),
                // The SDK's own: it could not read what it was given.
                None => ProviderError::new(
                    ErrorKind::Malformed,
                    "cannot get a token of Entra ID: its answer is not what its interface promises",
                )
                .hint("look at `authority` and AZURE_AUTHORITY_HOST: what answers there may be something else"),
            }
        })?;
        // Another identity may have been meant.
        if !self.is_taken.replace(true) {
            handfast_core::tracing::info!(target: "handfast", "Azure credentials taken: {}", self.method.described());
        }
        Ok(Arc::new(token))
    }

    /// The tokens of these resources, for a vault's client.
    pub fn guarded(&self, resources: Vec<String>) -> Guarded {
        Guarded { tokens: self.tokens.clone(), resources, given: Mutex::default() }
    }
}

/// The tokens so far. The SDK can read them from any thread.
struct Tokens {
    clock: Arc<dyn Clock>,
    by_resource: Mutex<HashMap<String, Arc<Once<Arc<AccessToken>>>>>,
}

impl Tokens {
    fn of(&self, resource: &str) -> Arc<Once<Arc<AccessToken>>> {
        let mut tokens = self.by_resource.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.entry(resource.to_owned()).or_default().clone()
    }

    fn serves(&self, token: &AccessToken) -> bool {
        token.expires_on > self.clock.now()
    }
}

/// Gives a vault's client the session's tokens, but only for the vault's own resources, whatever resource a challenge names.
pub struct Guarded {
    tokens: Arc<Tokens>,
    resources: Vec<String>,
    given: Mutex<Option<Given>>,
}

/// A token, and what it is for.
#[derive(Clone)]
pub struct Given {
    /// The resource.
    pub resource: String,
    /// The token.
    pub token: Arc<AccessToken>,
}

impl Guarded {
    /// The newest that the client was given.
    pub fn given(&self) -> Option<Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

/// There is no token for this resource yet: the session can get one.
#[derive(Debug)]
pub struct Wanted(pub String);

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wanted")
    }
}

impl std::error::Error for Wanted {}

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
        let Some(resource) = self.resources.iter().find(|resource| Some(resource.as_str()) == asked) else {
            return Err(wire::wrapped(Elsewhere));
        };
        let Some(token) = self.tokens.of(resource).known().await else {
            return Err(wire::wrapped(Wanted(resource.clone())));
        };
        let given = Given { resource: resource.clone(), token: token.clone() };
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(given);
        Ok((*token).clone())
    }
}
