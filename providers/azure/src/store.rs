//! From a locator to a request, and from its answer to a value.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use azure_security_keyvault_secrets::models::{Secret, SecretAttributes};
use handfast_core::{
    BoxFuture, Complaint, Context, ErrorKind, Fetched, GRACE, Locator, Provider, ProviderError, SecretValue, Summary,
    Term,
};
use handfast_http::{Client, Options};

use crate::cloud::{Address, Cloud};
use crate::explain::Attempt;
use crate::locator;
use crate::session::{Given, Session};
use crate::vault::{Unread, Vault};
use crate::wire::Wire;

/// A connection to the vaults of a cloud.
pub struct Store {
    /// The cloud.
    pub cloud: Cloud,
    /// The vault of references that name none.
    pub vault: Option<Address>,
    /// Whether a vault must be under the cloud's domain, and ask for the cloud's tokens alone.
    pub check: bool,
    /// Who we are.
    pub session: Session,
    /// How vaults are asked.
    pub options: Options,
    /// Files, variables, the clock.
    pub context: Context,
    /// How many requests were sent.
    pub requests: Arc<AtomicU64>,
    /// The vaults so far, by name.
    pub vaults: RefCell<BTreeMap<String, Rc<Vault>>>,
}

impl Provider for Store {
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>> {
        Box::pin(async move {
            let parts = locator::parts(locator).map_err(unchecked)?;
            let vault = self.vault(parts.vault)?;
            let attempt = Attempt { vault: vault.name(), secret: parts.secret, versioned: parts.version.is_some() };
            let secret = match self.read(&vault, &attempt, parts.version).await {
                Ok(secret) => secret,
                Err(error)
                    if error.kind == ErrorKind::NotFound
                        && self.vault(parts.vault)?.deleted(parts.secret).await.is_some() =>
                {
                    return Err(attempt.recoverable());
                }
                Err(error) => return Err(error),
            };
            let term = self.term(secret.attributes.as_ref(), &attempt)?;
            let value = secret.value.ok_or_else(|| attempt.malformed())?;
            Ok(Fetched::from(SecretValue::from(value.into_bytes())).holding(term))
        })
    }

    fn summary(&self) -> Summary {
        let requests = self.requests.load(Ordering::Relaxed);
        Summary { requests, expiry: None, identity: self.session.identity() }
    }
}

impl Store {
    /// The vault of a reference, made when it is first asked for.
    fn vault(&self, name: Option<&str>) -> Result<Rc<Vault>, ProviderError> {
        let address = match name {
            Some(name) => self.cloud.vault(name).map_err(unchecked)?,
            None => self.vault.clone().ok_or_else(|| unchecked("no vault is named".into()))?,
        };
        let known = self.vaults.borrow().get(address.url.as_str()).cloned();
        known.map_or_else(|| self.new_vault(address), Ok)
    }

    /// A vault with a client that knows no token.
    fn new_vault(&self, address: Address) -> Result<Rc<Vault>, ProviderError> {
        let key = address.url.to_string();
        // Each has a client of its own: requests that start at once share a connection, which is to one vault.
        let wire = Wire::new(Client::new(self.options.clone(), &self.context)?, self.requests.clone());
        let vault = Rc::new(Vault::new(address, self.cloud.resource(), self.check, &self.session, wire)?);
        self.vaults.borrow_mut().insert(key, vault.clone());
        Ok(vault)
    }

    /// Reads a secret, once more with another token where the vault does not take this one.
    async fn read(
        &self,
        vault: &Rc<Vault>,
        attempt: &Attempt<'_>,
        version: Option<&str>,
    ) -> Result<Secret, ProviderError> {
        let refused = match self.read_once(vault, attempt, version).await {
            Ok(secret) => return Ok(secret),
            Err(Unread::Token(error)) => error,
            Err(unread) => return Err(unread.explained(attempt)),
        };
        let Some(Given { resource, token }) = vault.given() else { return Err(refused) };
        let other = self.session.other(&resource, &token).await?;
        if other.token.secret() == token.token.secret() {
            return Err(refused);
        }
        // The SDK keeps a token for as long as it has said that it lives.
        let known = self.vaults.borrow().get(vault.address().url.as_str()).cloned();
        let vault = match known.filter(|known| !Rc::ptr_eq(known, vault)) {
            Some(known) => known,
            None => self.new_vault(vault.address().clone())?,
        };
        self.read_once(&vault, attempt, version).await.map_err(|unread| unread.explained(attempt))
    }

    /// Reads a secret, with the token that the vault asks for.
    async fn read_once(&self, vault: &Vault, attempt: &Attempt<'_>, version: Option<&str>) -> Result<Secret, Unread> {
        // Who we are comes first: without it a vault that does not answer would be waited for in vain. Where the challenge
        // may ask for another token than the cloud's, only the challenge can say which.
        let resource = match self.check {
            true => Some(self.cloud.resource()),
            false => vault.given().map(|given| given.resource),
        };
        if let Some(resource) = resource {
            self.session.token(&resource).await.map_err(Unread::Other)?;
        }
        match vault.read(attempt, version).await {
            Err(Unread::Wanted(resource)) => {
                self.session.token(&resource).await.map_err(Unread::Other)?;
                vault.read(attempt, version).await
            }
            answer => answer,
        }
    }

    /// How long the secret holds. Key Vault gives a secret outside of its time too: to look at it, say. A start is no such look.
    fn term(&self, attributes: Option<&SecretAttributes>, attempt: &Attempt<'_>) -> Result<Term, ProviderError> {
        let Some(attributes) = attributes else { return Ok(Term::Open) };
        let now = self.context.clock.now();
        let left = attributes.expires.map(|expires| SystemTime::from(expires).duration_since(now).unwrap_or_default());
        if left.is_some_and(|left| left.is_zero()) {
            return Err(attempt.expired());
        }
        let begins = attributes.not_before.and_then(|begins| SystemTime::from(begins).duration_since(now).ok());
        match begins.filter(|wait| !wait.is_zero()) {
            // Two clocks are never the same.
            Some(wait) if wait <= GRACE => {
                let error = ProviderError { kind: ErrorKind::Unavailable, ..attempt.not_yet_valid() };
                return Err(error.retry_after(wait));
            }
            Some(_) => return Err(attempt.not_yet_valid()),
            None => {}
        }
        Ok(left.map_or(Term::Open, Term::Until))
    }
}

/// A locator that [`check`](handfast_core::Configured::check) would have refused.
fn unchecked(complaint: Complaint) -> ProviderError {
    complaint.into_error(ErrorKind::Malformed)
}
