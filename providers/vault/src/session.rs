//! Who we are to Vault: the login and its token, the leases that hang on it, and what is given back at the end.

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

use crate::api::{self, Answer, Api, Lease, endpoints};
use crate::auth::{Chosen, Login, Origin};
use crate::explain;
use crate::held::{Held, Life};
use crate::leases::Leases;

/// What giving back may take: the app waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A session with Vault.
pub struct Session {
    /// How requests are sent.
    pub api: Api,
    chosen: Chosen,
    context: Context,
    login: Once<Rc<Held>>,
    /// The newest login.
    newest: RefCell<Option<Rc<Held>>>,
    leases: RefCell<Leases>,
    /// Whether a keeper that ends gives everything back.
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

    /// The login, made by the first who asks; and made anew by the first who asks once its token has ended.
    pub async fn login(&self) -> Result<Rc<Held>, ProviderError> {
        self.login.get(|held| self.serves(held), async { self.log_in().await.0 }).await
    }

    fn serves(&self, held: &Held) -> bool {
        let is_over = held.login.origin.is_own() && held.left(self.context.clock.now()) == Some(Duration::ZERO);
        !is_over && !held.is_lost.get()
    }

    /// Makes a login. Where that fails and the one before still serves, that one, and why.
    async fn log_in(&self) -> (Result<Rc<Held>, ProviderError>, Option<ProviderError>) {
        let before = self.newest.borrow().clone();
        let shown = if before.is_some() { self.api.show_anew() } else { Ok(()) };
        let login = match shown {
            Ok(()) => self.chosen.method.login(&self.api, &self.context).await,
            Err(error) => Err(error),
        };
        let is_same = |login: &Login, before: &Held| !login.origin.is_own() && before.has_token_of(login);
        match (login, before) {
            (Ok(login), Some(before)) if is_same(&login, &before) => {
                let error = ProviderError::new(ErrorKind::Denied, "the token that was given is still the same");
                (Ok(before), Some(error))
            }
            (Ok(login), before) => {
                let now = self.context.clock.now();
                let life = |left| Life { whole: left, left, since: now, renewable: login.renewable };
                let held = Rc::new(Held {
                    number: before.map_or(0, |before| before.number) + 1,
                    life: Cell::new(login.duration.map(life)),
                    is_lost: Cell::new(false),
                    login,
                });
                *self.newest.borrow_mut() = Some(held.clone());
                (Ok(held), None)
            }
            (Err(error), Some(before)) if self.serves(&before) => (Ok(before), Some(error)),
            (Err(error), _) => (Err(error), None),
        }
    }

    /// Vault has refused a request with this login: where that is because of its token, the next who asks makes another.
    pub fn refused(&self, held: &Held, response: &Response) {
        if response.status() == 403 && explain::is_no_token(&explain::errors(response)) {
            held.is_lost.set(true);
        }
    }

    /// Takes care of the login.
    pub async fn keep_up(&self, upkeep: Upkeep) -> Result<Option<Standing>, ProviderError> {
        let newest = self.newest.borrow().clone();
        let held = match (upkeep, newest) {
            (Upkeep::Renew, Some(held)) => return self.renew_login(&held).await,
            (Upkeep::Replace, Some(before)) => {
                let why = RefCell::new(None);
                let log_in = async {
                    let (login, error) = self.log_in().await;
                    why.replace(error);
                    login
                };
                // Where somebody else has made one meanwhile, that is as good.
                let held = self.login.get(|held| held.number > before.number && self.serves(held), log_in).await?;
                if let Some(error) = why.take() {
                    return Err(error);
                }
                held
            }
            _ => self.login().await?,
        };
        self.look(&held).await?;
        Ok(self.standing(&held))
    }

    /// Finds out how long a token lives that was given to us.
    async fn look(&self, held: &Held) -> Result<(), ProviderError> {
        let is_given = matches!(held.login.origin, Origin::Given | Origin::GivenInFile);
        if !is_given || held.life.get().is_some() {
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
        let response = self.api.send(&endpoints::LookupSelf, held.token()).await?;
        if !response.is_success() {
            let refused = self.unrenewed(&response, attempted, held);
            // A token need not have the right to know of itself.
            return if refused.kind == ErrorKind::Unavailable { Err(refused) } else { Ok(()) };
        }
        let answer: Answer<'_> = api::of(&response, attempted)?;
        let token: Option<Token> = answer.data.and_then(|data| serde_json::from_str(data.get()).ok());
        if let Some(Token { ttl, creation_ttl, renewable }) = token.filter(|token| token.ttl > 0) {
            let [left, whole] = [ttl, creation_ttl.max(ttl)].map(Duration::from_secs);
            held.life.set(Some(Life { whole, left, since: self.context.clock.now(), renewable }));
        }
        Ok(())
    }

    /// How a login stands; `None` where its end is not known, or not ours to care for.
    fn standing(&self, held: &Held) -> Option<Standing> {
        let Life { whole, renewable, .. } = held.life.get()?;
        let life = held.left(self.context.clock.now())?;
        let is_replaceable = held.login.origin.is_own() || held.login.origin == Origin::GivenInFile;
        Some(Standing { number: held.number, whole, grant: Grant { life, renewable }, is_replaceable })
    }

    async fn renew_login(&self, held: &Rc<Held>) -> Result<Option<Standing>, ProviderError> {
        let Some(Life { whole, .. }) = held.life.get() else { return Ok(None) };
        let attempted = "cannot renew the token";
        let endpoint = endpoints::RenewSelf { increment: whole.as_secs() };
        let response = self.api.send(&endpoint, held.token()).await.map_err(unasked)?;
        if !response.is_success() {
            let error = self.unrenewed(&response, attempted, held);
            if !held.is_lost.get() {
                return Err(error);
            }
            let anew = self.login().await?;
            if anew.number == held.number {
                // It was given to us, and there is no other.
                return Err(ProviderError { kind: ErrorKind::NotFound, ..error });
            }
            return Ok(self.standing(&anew));
        }
        let answer: Answer<'_> = api::of(&response, attempted)?;
        let Some(auth) = answer.auth else {
            return Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer has no token")));
        };
        let life = |left| Life { whole, left, since: self.context.clock.now(), renewable: auth.renewable() };
        held.life.set(auth.duration().map(life));
        Ok(self.standing(held))
    }

    /// Renews the newest lease of a locator.
    pub async fn renew_lease(&self, locator: &Locator) -> Result<Grant, ProviderError> {
        let attempted = format!("cannot renew the lease of `{}`", locator.path);
        let known = self.leases.borrow().newest(locator);
        let Some((lease_id, whole)) = known else {
            return Err(ProviderError::new(ErrorKind::NotFound, format!("{attempted}: it is over")));
        };
        let held = self.login().await?;
        let endpoint = endpoints::RenewLease { lease_id: &lease_id, increment: whole.as_secs() };
        let response = self.api.send(&endpoint, held.token()).await.map_err(unasked)?;
        if !response.is_success() {
            return Err(self.unrenewed(&response, &attempted, &held));
        }
        let answer: Answer<'_> = api::of(&response, &attempted)?;
        let Some(Lease { duration, renewable, .. }) = answer.lease() else {
            return Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer has no lease")));
        };
        self.leases.borrow_mut().renewed(&lease_id, duration, self.context.clock.now());
        Ok(Grant { life: duration, renewable })
    }

    /// Why Vault renews something not, or does not say how it stands.
    fn unrenewed(&self, response: &Response, attempted: &str, held: &Held) -> ProviderError {
        self.refused(held, response);
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
            403 if held.is_lost.get() => return explain::invalid_token(attempted),
            403 => "permission denied",
            _ => return response.failure(attempted),
        };
        ProviderError::new(kind, format!("{attempted}: {why}"))
    }

    /// How long it is until a time of day, in seconds since 1970.
    pub fn until(&self, time: u64) -> Duration {
        let time = UNIX_EPOCH + Duration::from_secs(time.min(u64::from(u32::MAX)));
        time.duration_since(self.context.clock.now()).unwrap_or_default()
    }

    /// The method that has logged in.
    pub fn identity(&self) -> Option<String> {
        self.newest.borrow().as_ref().map(|_| self.chosen.name.to_owned())
    }

    /// Whether an agent lends its token: then no request has one of ours.
    pub fn is_lent(&self) -> bool {
        self.chosen.name == "agent"
    }

    /// Keeps in mind that a lease was given to a login. What holds for the secret then.
    pub fn leased(&self, locator: &Locator, lease: Lease, held: &Rc<Held>) -> Term {
        let grant = Grant { life: lease.duration, renewable: lease.renewable };
        self.leases.borrow_mut().add(locator, lease, held.clone(), self.context.clock.now());
        Term::Leased { grant, login: held.number }
    }

    /// Revokes what nobody needs: everything that was issued where nothing was delivered, or where a keeper ends that shall; else the
    /// token of our own login, unless leases depend on it. A token that we were given stays. Best effort: what is left ends by itself.
    pub async fn finish(&self, ending: Ending) {
        let newest = self.newest.borrow().clone();
        let Some(newest) = newest else { return };
        let gives_all_back = match ending {
            Ending::NotDelivered => true,
            Ending::Over => self.revoke_on_exit,
            Ending::Delivered => false,
        };
        let leases = self.leases.borrow().alive(self.context.clock.now());
        if !gives_all_back && !leases.is_empty() {
            return;
        }
        // With a token of ours, Vault revokes its leases.
        let mut tokens = BTreeMap::from([(newest.number, newest.clone())]);
        tokens.extend(leases.iter().map(|(_, held)| (held.number, held.clone())));
        tokens.retain(|_, held| held.login.origin.can_be_revoked());
        let mut revoking: Vec<BoxFuture<'_, ()>> = Vec::new();
        for held in tokens.values() {
            let revoke = async { told("the login's token", self.api.send(&endpoints::RevokeSelf, held.token()).await) };
            revoking.push(Box::pin(revoke));
        }
        let token = newest.token();
        for (lease_id, _) in leases.iter().filter(|(_, held)| !held.login.origin.can_be_revoked()) {
            let endpoint = endpoints::RevokeLease { lease_id };
            let revoke = async move { told("a lease", self.api.send(&endpoint, token).await) };
            revoking.push(Box::pin(revoke));
        }
        if tokio::time::timeout(PATIENCE, at_once(revoking)).await.is_err() {
            tracing::warn!(target: "handfast", "Vault did not take back in {PATIENCE:?} what this start does not need; it ends by itself");
        }
    }

    /// What ends first: a lease, or the token that leases hang on, where its end is known.
    pub fn expiry(&self) -> Option<Expiry> {
        let now = self.context.clock.now();
        let newest = self.newest.borrow();
        // Whoever gave us a token knows when it ends; asking Vault would be a request more.
        let is_known = newest.as_ref().is_some_and(|held| held.login.origin.is_own() || held.life.get().is_some());
        let unless = if is_known { "" } else { ", if not the token before it," };
        let of_lease = self
            .leases
            .borrow()
            .first_end(now)
            .map(|(path, after)| Expiry { what: format!("the lease of `{path}`{unless}"), after })?;
        let of_login = newest.as_ref().and_then(|held| {
            let what = "the token of the login, and with it every lease,".to_owned();
            Some(Expiry { what, after: held.left(now)? })
        });
        of_login.into_iter().chain([of_lease]).min_by_key(|expiry| expiry.after)
    }
}

/// A renewal that Vault was not asked for: it has not denied anything, whatever answered in its place.
fn unasked(error: ProviderError) -> ProviderError {
    let kind = if error.kind == ErrorKind::Denied { ErrorKind::Malformed } else { error.kind };
    ProviderError { kind, ..error }
}

fn told(what: &str, response: Result<Response, ProviderError>) {
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

/// Runs all of them side by side.
async fn at_once(mut running: Vec<BoxFuture<'_, ()>>) {
    poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
