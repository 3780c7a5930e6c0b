//! Turns locators into requests, and their responses into values.

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
use crate::session::{IssuedToken, Session};
use crate::vault::{Unread, Vault};
use crate::wire::Wire;

/// A connection to the vaults of a cloud.
pub struct Store {
    /// The cloud.
    pub cloud: Cloud,
    /// The vault of references that name none.
    pub vault: Option<Address>,
    /// Whether a vault must be under the cloud's domain, and request only the cloud's tokens.
    pub check: bool,
    /// The tokens.
    pub session: Session,
    /// The options of the vaults' clients.
    pub options: Options,
    /// The files, the variables and the clock.
    pub context: Context,
    /// The number of requests so far.
    pub requests: Arc<AtomicU64>,
    /// The vaults so far, by address.
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
    /// The vault of a reference, made at its first use.
    fn vault(&self, name: Option<&str>) -> Result<Rc<Vault>, ProviderError> {
        let address = match name {
            Some(name) => self.cloud.vault(name).map_err(unchecked)?,
            None => self.vault.clone().ok_or_else(|| unchecked("no vault is named".into()))?,
        };
        let known = self.vaults.borrow().get(address.url.as_str()).cloned();
        known.map_or_else(|| self.new_vault(address), Ok)
    }

    /// A vault with a new client, which has no token.
    fn new_vault(&self, address: Address) -> Result<Rc<Vault>, ProviderError> {
        let key = address.url.to_string();
        // Each vault has its own client: requests that start at the same time share one connection, which is to one vault.
        let wire = Wire::new(Client::new(self.options.clone(), &self.context)?, self.requests.clone());
        let vault = Rc::new(Vault::new(address, self.cloud.resource(), self.check, &self.session, wire)?);
        self.vaults.borrow_mut().insert(key, vault.clone());
        Ok(vault)
    }

    /// Reads a secret. If the vault does not accept the token, repeats the request with another token.
    async fn read(
        &self,
        vault: &Rc<Vault>,
        attempt: &Attempt<'_>,
        version: Option<&str>,
    ) -> Result<Secret, ProviderError> {
        let refused = match self.read_once(vault, attempt, version).await {
            Ok(secret) => return Ok(secret),
            Err(Unread::TokenRefused(error)) => error,
            Err(unread) => return Err(unread.into_error(attempt)),
        };
        let Some(IssuedToken { resource, token }) = vault.last_token() else { return Err(refused) };
        let other = self.session.replacement(&resource, &token).await?;
        if other.token.secret() == token.token.secret() {
            return Err(refused);
        }
        // A new client is needed, because the SDK keeps a token until its expiry.
        let known = self.vaults.borrow().get(vault.address().url.as_str()).cloned();
        let vault = match known.filter(|known| !Rc::ptr_eq(known, vault)) {
            Some(known) => known,
            None => self.new_vault(vault.address().clone())?,
        };
        self.read_once(&vault, attempt, version).await.map_err(|unread| unread.into_error(attempt))
    }

    /// Reads a secret, with the token that the vault requires.
    async fn read_once(&self, vault: &Vault, attempt: &Attempt<'_>, version: Option<&str>) -> Result<Secret, Unread> {
        // Requests the token first, so that a missing credential is reported even if the vault does not respond. If the challenge
        // may name another resource than the cloud's, the token is requested after the challenge.
        let resource = match self.check {
            true => Some(self.cloud.resource()),
            false => vault.last_token().map(|issued| issued.resource),
        };
        if let Some(resource) = resource {
            self.session.token(&resource).await.map_err(Unread::Other)?;
        }
        match vault.read(attempt, version).await {
            Err(Unread::TokenNeeded(resource)) => {
                self.session.token(&resource).await.map_err(Unread::Other)?;
                vault.read(attempt, version).await
            }
            result => result,
        }
    }

    /// How long the secret is valid. Key Vault also returns a secret before and after its dates; handfast refuses it then.
    fn term(&self, attributes: Option<&SecretAttributes>, attempt: &Attempt<'_>) -> Result<Term, ProviderError> {
        let Some(attributes) = attributes else { return Ok(Term::Open) };
        let now = self.context.clock.now();
        let left = attributes.expires.map(|expires| SystemTime::from(expires).duration_since(now).unwrap_or_default());
        if left.is_some_and(|left| left.is_zero()) {
            return Err(attempt.expired());
        }
        let begins = attributes.not_before.and_then(|begins| SystemTime::from(begins).duration_since(now).ok());
        match begins.filter(|wait| !wait.is_zero()) {
            // This machine's clock may differ by some seconds from the vault's.
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

/// The error for an invalid locator, which [`check`](handfast_core::Configured::check) normally refuses before.
fn unchecked(complaint: Complaint) -> ProviderError {
    complaint.into_error(ErrorKind::Malformed)
}
