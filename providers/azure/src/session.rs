//! The tokens: one for each resource, shared by all fetches.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use handfast_core::{Clock, ErrorKind, ProviderError};
use handfast_http::Once;

use crate::auth::{self, Connections, Method};
use crate::wire;

/// The login method, and the tokens that it has returned.
pub struct Session {
    method: Method,
    connections: Connections,
    /// The credential for the first token. Each later token needs a new credential, because the files may have changed.
    first: RefCell<Option<Arc<dyn TokenCredential>>>,
    tokens: Arc<Tokens>,
    /// Whether there has been a token.
    had_token: Cell<bool>,
}

impl Session {
    /// A session that has sent no request yet.
    pub fn new(method: Method, connections: Connections) -> Result<Self, ProviderError> {
        let first = RefCell::new(Some(auth::credential(&method, &connections, false)?));
        let tokens = Tokens { clock: connections.context.clock.clone(), by_resource: Mutex::default() };
        Ok(Self { method, connections, first, tokens: Arc::new(tokens), had_token: Cell::new(false) })
    }

    /// The description of the method, once there has been a token.
    pub fn identity(&self) -> Option<String> {
        self.had_token.get().then(|| self.method.description())
    }

    /// A token for this resource.
    pub async fn token(&self, resource: &str) -> Result<Arc<AccessToken>, ProviderError> {
        self.tokens.of(resource).get(|token| self.tokens.is_valid(token), self.request(resource)).await
    }

    /// A new token in place of a token that a vault does not accept any more. It is requested once, even if many requests have
    /// the refused token.
    pub async fn replacement(
        &self,
        resource: &str,
        refused: &Arc<AccessToken>,
    ) -> Result<Arc<AccessToken>, ProviderError> {
        let is_new = |token: &Arc<AccessToken>| !Arc::ptr_eq(token, refused) && self.tokens.is_valid(token);
        self.tokens.of(resource).get(is_new, self.request(resource)).await
    }

    async fn request(&self, resource: &str) -> Result<Arc<AccessToken>, ProviderError> {
        let first = self.first.take();
        let credential = match first {
            Some(credential) => credential,
            None => auth::credential(&self.method, &self.connections, self.had_token.get())?,
        };
        let scope = format!("{resource}/.default");
        let token = credential.get_token(&[&scope], None).await.map_err(|error| {
            match wire::unwrapped::<ProviderError>(&error) {
                Some(ours) => ours.once_more(),
                // An error of the SDK itself: it could not read the response.
                None => ProviderError::new(
                    ErrorKind::Malformed,
                    "cannot get a token of Entra ID: its answer is not what its interface promises",
                )
                .hint("look at `authority` and AZURE_AUTHORITY_HOST: what answers there may be something else"),
            }
        })?;
        // The user may have meant another identity.
        if !self.had_token.replace(true) {
            handfast_core::tracing::info!(target: "handfast", "Azure credentials taken: {}", self.method.description());
        }
        Ok(Arc::new(token))
    }

    /// The credential for a vault's client, with the tokens for these resources.
    pub fn guarded(&self, resources: Vec<String>) -> Guarded {
        Guarded { tokens: self.tokens.clone(), resources, last: Mutex::default() }
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

    fn is_valid(&self, token: &AccessToken) -> bool {
        token.expires_on > self.clock.now()
    }
}

/// The credential of a vault's client. It returns the session's tokens only for the vault's own resources, whatever resource a
/// challenge names.
pub struct Guarded {
    tokens: Arc<Tokens>,
    resources: Vec<String>,
    last: Mutex<Option<IssuedToken>>,
}

/// A token and its resource.
#[derive(Clone)]
pub struct IssuedToken {
    /// The resource.
    pub resource: String,
    /// The token.
    pub token: Arc<AccessToken>,
}

impl Guarded {
    /// The last token that the client got.
    pub fn last_token(&self) -> Option<IssuedToken> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

/// The error if there is no token for this resource yet. The session can request one.
#[derive(Debug)]
pub struct TokenNeeded(pub String);

impl fmt::Display for TokenNeeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenNeeded")
    }
}

impl std::error::Error for TokenNeeded {}

/// The error for a challenge that names another resource than this vault's.
#[derive(Debug)]
pub struct ForeignChallenge;

impl fmt::Display for ForeignChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the challenge asks for a token for something else")
    }
}

impl std::error::Error for ForeignChallenge {}

#[async_trait]
impl TokenCredential for Guarded {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let requested = match scopes {
            [scope] => scope.strip_suffix("/.default").map(|resource| resource.trim_end_matches('/')),
            _ => None,
        };
        let Some(resource) = self.resources.iter().find(|resource| Some(resource.as_str()) == requested) else {
            return Err(wire::wrapped(ForeignChallenge));
        };
        let Some(token) = self.tokens.of(resource).known().await else {
            return Err(wire::wrapped(TokenNeeded(resource.clone())));
        };
        let issued = IssuedToken { resource: resource.clone(), token: token.clone() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(issued);
        Ok((*token).clone())
    }
}
