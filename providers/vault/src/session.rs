//! The session with Vault: the login and its token, the leases of the token, and their revocation at the end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use handfast_core::{
    BoxFuture, Context, Ending, ErrorKind, Expiry, Grant, Locator, ProviderError, Standing, Term, Upkeep,
};
use handfast_http::{Once, Response};
use serde::Deserialize;

use crate::active_login::{ActiveLogin, Life};
use crate::api::{self, Answer, Api, Lease, endpoints};
use crate::auth::{Chosen, Login, Origin};
use crate::explain;
use crate::leases::Leases;

/// The time limit for revocations, because the app waits for them.
const REVOCATION_LIMIT: Duration = Duration::from_secs(2);

/// A session with Vault.
pub struct Session {
    /// The client.
    pub api: Api,
    chosen: Chosen,
    context: Context,
    login: Once<Rc<ActiveLogin>>,
    /// The newest login.
    newest: RefCell<Option<Rc<ActiveLogin>>>,
    leases: RefCell<Leases>,
    /// Whether a keeper that ends revokes everything.
    revoke_on_exit: bool,
}

impl Session {
    /// A session that has not logged in yet.
    pub fn new(api: Api, chosen: Chosen, context: Context, revoke_on_exit: bool) -> Self {
        Self {
            api,
            chosen,
            context,
            login: Once::default(),
            newest: RefCell::default(),
            leases: RefCell::default(),
            revoke_on_exit,
        }
    }

    /// The login. The first caller logs in, and so does the first caller after the token has ended; other callers wait.
    pub async fn login(&self) -> Result<Rc<ActiveLogin>, ProviderError> {
        self.login.get(|active| self.is_valid(active), async { self.log_in().await.0 }).await
    }

    fn is_valid(&self, active: &ActiveLogin) -> bool {
        let is_over = active.login.origin.is_own() && active.left(self.context.clock.now()) == Some(Duration::ZERO);
        !is_over && !active.is_lost.get()
    }

    /// Logs in. If that fails and the previous login is still valid, returns the previous login and the error.
    async fn log_in(&self) -> (Result<Rc<ActiveLogin>, ProviderError>, Option<ProviderError>) {
        let before = self.newest.borrow().clone();
        let certificate = if before.is_some() { self.api.reload_certificate() } else { Ok(()) };
        let login = match certificate {
            Ok(()) => self.chosen.method.login(&self.api, &self.context).await,
            Err(error) => Err(error),
        };
        let is_same = |login: &Login, before: &ActiveLogin| !login.origin.is_own() && before.has_token_of(login);
        match (login, before) {
            (Ok(login), Some(before)) if is_same(&login, &before) => {
                let error = ProviderError::new(ErrorKind::Denied, "the token that was given is still the same");
                (Ok(before), Some(error))
            }
            (Ok(login), before) => {
                let now = self.context.clock.now();
                let life = |left| Life { whole: left, left, since: now, renewable: login.renewable };
                let active = Rc::new(ActiveLogin {
                    number: before.map_or(0, |before| before.number) + 1,
                    life: Cell::new(login.duration.map(life)),
                    is_lost: Cell::new(false),
                    login,
                });
                *self.newest.borrow_mut() = Some(active.clone());
                (Ok(active), None)
            }
            (Err(error), Some(before)) if self.is_valid(&before) => (Ok(before), Some(error)),
            (Err(error), _) => (Err(error), None),
        }
    }

    /// Handles a refused request of this login: if the reason is its token, the next caller of [`login`](Self::login) logs in
    /// again.
    pub fn refused(&self, active: &ActiveLogin, response: &Response) {
        if response.status() == 403 && explain::is_no_token(&explain::errors(response)) {
            active.is_lost.set(true);
        }
    }

    /// Inspects, renews or replaces the login.
    pub async fn keep_up(&self, upkeep: Upkeep) -> Result<Option<Standing>, ProviderError> {
        let newest = self.newest.borrow().clone();
        let active = match (upkeep, newest) {
            (Upkeep::Renew, Some(active)) => return self.renew_login(&active).await,
            (Upkeep::Replace, Some(before)) => {
                let why = RefCell::new(None);
                let log_in = async {
                    let (login, error) = self.log_in().await;
                    why.replace(error);
                    login
                };
                // Another caller may have logged in since; that login is used too.
                let active =
                    self.login.get(|active| active.number > before.number && self.is_valid(active), log_in).await?;
                if let Some(error) = why.take() {
                    return Err(error);
                }
                active
            }
            _ => self.login().await?,
        };
        self.look_up_token(&active).await?;
        Ok(self.standing(&active))
    }

    /// Requests the lifetime of a token that does not come from a login of handfast.
    async fn look_up_token(&self, active: &ActiveLogin) -> Result<(), ProviderError> {
        let is_provided = matches!(active.login.origin, Origin::Provided | Origin::File);
        if !is_provided || active.life.get().is_some() {
            return Ok(());
        }
        #[derive(Deserialize)]
        struct Token {
            #[serde(default)]
            ttl: u64,
            #[serde(default)]
            creation_ttl: u64,
            #[serde(default)]
            renewable: bool,
        }
        let attempted = "cannot look at the token";
        let response = self.api.send(&endpoints::LookupSelf, active.token()).await?;
        if !response.is_success() {
            let refused = self.not_renewed(&response, attempted, active);
            // A token may not have the right to look itself up.
            return if refused.kind == ErrorKind::Unavailable { Err(refused) } else { Ok(()) };
        }
        let answer: Answer<'_> = api::of(&response, attempted)?;
        let token: Option<Token> = answer.data.and_then(|data| serde_json::from_str(data.get()).ok());
        if let Some(Token { ttl, creation_ttl, renewable }) = token.filter(|token| token.ttl > 0) {
            let [left, whole] = [ttl, creation_ttl.max(ttl)].map(Duration::from_secs);
            active.life.set(Some(Life { whole, left, since: self.context.clock.now(), renewable }));
        }
        Ok(())
    }

    /// The state of a login; `None` if the end of its token is not known.
    fn standing(&self, active: &ActiveLogin) -> Option<Standing> {
        let Life { whole, renewable, .. } = active.life.get()?;
        let life = active.left(self.context.clock.now())?;
        let is_replaceable = active.login.origin.is_own() || active.login.origin == Origin::File;
        Some(Standing { number: active.number, whole, grant: Grant { life, renewable }, is_replaceable })
    }

    async fn renew_login(&self, active: &Rc<ActiveLogin>) -> Result<Option<Standing>, ProviderError> {
        let Some(Life { whole, .. }) = active.life.get() else { return Ok(None) };
        let attempted = "cannot renew the token";
        let endpoint = endpoints::RenewSelf { increment: whole.as_secs() };
        let response = self.api.send(&endpoint, active.token()).await.map_err(not_denied)?;
        if !response.is_success() {
            let error = self.not_renewed(&response, attempted, active);
            if !active.is_lost.get() {
                return Err(error);
            }
            let anew = self.login().await?;
            if anew.number == active.number {
                // The configuration has only this token.
                return Err(ProviderError { kind: ErrorKind::NotFound, ..error });
            }
            return Ok(self.standing(&anew));
        }
        let answer: Answer<'_> = api::of(&response, attempted)?;
        let Some(auth) = answer.auth else {
            return Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer has no token")));
        };
        let life = |left| Life { whole, left, since: self.context.clock.now(), renewable: auth.renewable() };
        active.life.set(auth.duration().map(life));
        Ok(self.standing(active))
    }

    /// Renews the newest lease of a locator.
    pub async fn renew_lease(&self, locator: &Locator) -> Result<Grant, ProviderError> {
        let attempted = format!("cannot renew the lease of `{}`", locator.path);
        let known = self.leases.borrow().newest(locator);
        let Some((lease_id, whole)) = known else {
            return Err(ProviderError::new(ErrorKind::NotFound, format!("{attempted}: it is over")));
        };
        let active = self.login().await?;
        let endpoint = endpoints::RenewLease { lease_id: &lease_id, increment: whole.as_secs() };
        let response = self.api.send(&endpoint, active.token()).await.map_err(not_denied)?;
        if !response.is_success() {
            return Err(self.not_renewed(&response, &attempted, &active));
        }
        let answer: Answer<'_> = api::of(&response, &attempted)?;
        let Some(Lease { duration, renewable, .. }) = answer.lease() else {
            return Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer has no lease")));
        };
        self.leases.borrow_mut().renewed(&lease_id, duration, self.context.clock.now());
        Ok(Grant { life: duration, renewable })
    }

    /// The error if Vault refuses to renew or to look up a token or lease.
    fn not_renewed(&self, response: &Response, attempted: &str, active: &ActiveLogin) -> ProviderError {
        self.refused(active, response);
        if let Some(error) = explain::unavailable(response, attempted) {
            return error;
        }
        let says = |text: &str| explain::errors(response).iter().any(|error| error.contains(text));
        let mut kind = ErrorKind::Denied;
        let why = match response.status() {
            400 if says("not renewable") => "Vault says that it cannot be renewed",
            400 if says("not found") || says("expired") => {
                kind = ErrorKind::NotFound;
                "it is over"
            }
            400 => "Vault does not renew it",
            403 if active.is_lost.get() => return explain::invalid_token(attempted),
            403 => "permission denied",
            _ => return response.failure(attempted),
        };
        ProviderError::new(kind, format!("{attempted}: {why}"))
    }

    /// The time from now until a time in seconds since 1970.
    pub fn until(&self, time: u64) -> Duration {
        let time = UNIX_EPOCH + Duration::from_secs(time.min(u64::from(u32::MAX)));
        time.duration_since(self.context.clock.now()).unwrap_or_default()
    }

    /// The method of the login, if there is a login.
    pub fn identity(&self) -> Option<String> {
        self.newest.borrow().as_ref().map(|_| self.chosen.name.to_owned())
    }

    /// Whether an agent adds its token, so that no request has a token of handfast.
    pub fn uses_agent(&self) -> bool {
        self.chosen.name == "agent"
    }

    /// Stores a lease that was issued to a login. Returns the secret's term.
    pub fn leased(&self, locator: &Locator, lease: Lease, active: &Rc<ActiveLogin>) -> Term {
        let grant = Grant { life: lease.duration, renewable: lease.renewable };
        self.leases.borrow_mut().add(locator, lease, active.clone(), self.context.clock.now());
        Term::Leased { grant, login: active.number }
    }

    /// Revokes credentials that nobody needs: all of them if nothing was delivered, or if a keeper with `revoke_on_exit` ends;
    /// otherwise only the token of handfast's own login, unless leases depend on it. A token from a variable or file is not
    /// revoked. Failures are only logged, since all these credentials expire.
    pub async fn finish(&self, ending: Ending) {
        let newest = self.newest.borrow().clone();
        let Some(newest) = newest else { return };
        let revokes_all = match ending {
            Ending::NotDelivered => true,
            Ending::Over => self.revoke_on_exit,
            Ending::Delivered => false,
        };
        let leases = self.leases.borrow().alive(self.context.clock.now());
        if !revokes_all && !leases.is_empty() {
            return;
        }
        // Together with a token of handfast's own login, Vault revokes its leases.
        let mut tokens = BTreeMap::from([(newest.number, newest.clone())]);
        tokens.extend(leases.iter().map(|(_, active)| (active.number, active.clone())));
        tokens.retain(|_, active| active.login.origin.can_be_revoked());
        let mut revoking: Vec<BoxFuture<'_, ()>> = Vec::new();
        for active in tokens.values() {
            let revoke = async {
                log_revocation("the login's token", self.api.send(&endpoints::RevokeSelf, active.token()).await)
            };
            revoking.push(Box::pin(revoke));
        }
        let token = newest.token();
        for (lease_id, _) in leases.iter().filter(|(_, active)| !active.login.origin.can_be_revoked()) {
            let endpoint = endpoints::RevokeLease { lease_id };
            let revoke = async move { log_revocation("a lease", self.api.send(&endpoint, token).await) };
            revoking.push(Box::pin(revoke));
        }
        if tokio::time::timeout(REVOCATION_LIMIT, all(revoking)).await.is_err() {
            tracing::warn!(target: "handfast", "Vault did not take back in {REVOCATION_LIMIT:?} what this start does not need; it ends by itself");
        }
    }

    /// The expiry of the first lease, or of the token that the leases depend on, if its end is known and earlier.
    pub fn expiry(&self) -> Option<Expiry> {
        let now = self.context.clock.now();
        let newest = self.newest.borrow();
        // The end of a token from a variable or file is not requested for this, because it would be one more request.
        let is_known =
            newest.as_ref().is_some_and(|active| active.login.origin.is_own() || active.life.get().is_some());
        let condition = if is_known { "" } else { ", if not the token before it," };
        let of_lease = self
            .leases
            .borrow()
            .first_end(now)
            .map(|(path, after)| Expiry { what: format!("the lease of `{path}`{condition}"), after })?;
        let of_login = newest.as_ref().and_then(|active| {
            let what = "the token of the login, and with it every lease,".to_owned();
            Some(Expiry { what, after: active.left(now)? })
        });
        of_login.into_iter().chain([of_lease]).min_by_key(|expiry| expiry.after)
    }
}

/// The error of a request that another program has denied in the place of Vault: Vault itself has denied nothing.
fn not_denied(error: ProviderError) -> ProviderError {
    let kind = if error.kind == ErrorKind::Denied { ErrorKind::Malformed } else { error.kind };
    ProviderError { kind, ..error }
}

fn log_revocation(what: &str, response: Result<Response, ProviderError>) {
    match response {
        Ok(response) if response.is_success() => handfast_core::debug!("{what} was given back to Vault"),
        Ok(response) => {
            let status = response.status();
            tracing::warn!(target: "handfast", "cannot give {what} back to Vault, which ends by itself: it answered {status}");
        }
        Err(error) => {
            tracing::warn!(target: "handfast", "cannot give {what} back to Vault, which ends by itself: {error}");
        }
    }
}

/// Runs all futures at the same time.
async fn all(mut running: Vec<BoxFuture<'_, ()>>) {
    poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
