//! Who we are to Vault: one login, its token, the leases that hang on it, and what is given back at the end.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use handfast_core::{BoxFuture, Context, Ending, Expiry, ProviderError};
use handfast_http::{Once, Response};

use crate::api::{Api, Lease, endpoints};
use crate::auth::{Chosen, Login};

/// What giving back may take: the app waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A session with Vault.
pub struct Session {
    /// How requests are sent.
    pub api: Api,
    chosen: Chosen,
    context: Context,
    login: Once<Rc<Login>>,
    /// The leases so far: of what, the lease, when it was given.
    leases: RefCell<Vec<(String, Lease, SystemTime)>>,
    logged_in: RefCell<Option<(Rc<Login>, SystemTime)>>,
}

impl Session {
    /// A session that has not logged in yet.
    pub fn new(api: Api, chosen: Chosen, context: Context) -> Self {
        Self { api, chosen, context, login: Once::default(), leases: RefCell::default(), logged_in: RefCell::default() }
    }

    /// The login, made by the first who asks; and made anew before its token ends, where that is known and nothing depends on it.
    pub async fn login(&self) -> Result<Rc<Login>, ProviderError> {
        let log_in = async {
            let before = self.logged_in.borrow().clone();
            let login = match (self.chosen.method.login(&self.api, &self.context).await, before) {
                (Ok(login), _) => Rc::new(login),
                // Its token may serve until it ends.
                (Err(error), Some((before, since)))
                    if self.left(&before, since).is_some_and(|left| !left.is_zero()) =>
                {
                    handfast_core::debug!("the login to Vault cannot be made anew: {error}");
                    return Ok(before);
                }
                (Err(error), _) => return Err(error),
            };
            *self.logged_in.borrow_mut() = Some((login.clone(), self.context.clock.now()));
            Ok(login)
        };
        self.login.get(|login| self.serves(login), log_in).await
    }

    /// Whether a login is far from its end: two thirds of its life are not over.
    fn serves(&self, login: &Rc<Login>) -> bool {
        let since = self.logged_in.borrow().as_ref().map(|(_, since)| *since);
        let left = since.and_then(|since| self.left(login, since)).zip(login.duration);
        let is_near = left.is_some_and(|(left, whole)| left < whole / 3);
        !(is_near && login.is_own && self.leases.borrow().is_empty())
    }

    /// How long a login of then still lives, where that is known.
    fn left(&self, login: &Login, since: SystemTime) -> Option<Duration> {
        let age = self.context.clock.now().duration_since(since).unwrap_or_default();
        login.duration.map(|duration| duration.saturating_sub(age))
    }

    /// The method that has logged in.
    pub fn identity(&self) -> Option<String> {
        self.logged_in.borrow().as_ref().map(|_| self.chosen.name.to_owned())
    }

    /// Whether an agent lends its token: then no request has one of ours.
    pub fn is_lent(&self) -> bool {
        self.chosen.name == "agent"
    }

    /// Keeps in mind that a lease was given.
    pub fn leased(&self, path: &str, lease: Lease) {
        self.leases.borrow_mut().push((path.to_owned(), lease, self.context.clock.now()));
    }

    /// Revokes what nobody needs: everything that was issued where nothing was delivered, else the token of our own login, unless
    /// leases depend on it. A token that we were given stays. Best effort: what is left ends by itself.
    pub async fn finish(&self, ending: Ending) {
        let logged_in = self.logged_in.borrow().as_ref().map(|(login, _)| login.clone());
        let Some(login) = logged_in else { return };
        let leases: Vec<String> = self.leases.borrow().iter().map(|(_, lease, _)| lease.id.clone()).collect();
        if ending == Ending::Kept && !leases.is_empty() {
            return;
        }
        let token = login.token.as_ref();
        let revoking = async {
            if login.is_own {
                // With the token, Vault revokes its leases.
                return told("the login's token", self.api.send(&endpoints::RevokeSelf, token).await);
            }
            let revoke = |lease_id| async move {
                told("a lease", self.api.send(&endpoints::RevokeLease { lease_id }, token).await);
            };
            at_once(leases.iter().map(|lease| Box::pin(revoke(lease)) as BoxFuture<'_, ()>).collect()).await;
        };
        if tokio::time::timeout(PATIENCE, revoking).await.is_err() {
            tracing::warn!(target: "handfast", "Vault did not take back in {PATIENCE:?} what this start does not need; it ends by itself");
        }
    }

    /// What ends first: a lease, or the token that leases hang on, where its end is known.
    pub fn expiry(&self) -> Option<Expiry> {
        let now = self.context.clock.now();
        let left = |duration: Duration, since: SystemTime| {
            duration.saturating_sub(now.duration_since(since).unwrap_or_default())
        };
        let leases = self.leases.borrow();
        let logged_in = self.logged_in.borrow();
        // Whoever gave us a token knows when it ends; asking Vault would be a request more.
        let is_known = logged_in.as_ref().is_some_and(|(login, _)| login.is_own || login.duration.is_some());
        let unless = if is_known { "" } else { ", if not the token before it," };
        let of_leases = leases.iter().map(|(path, lease, since)| Expiry {
            what: format!("the lease of `{path}`{unless}"),
            after: left(lease.duration, *since),
        });
        let of_login = logged_in.as_ref().filter(|_| !leases.is_empty());
        let of_login = of_login.and_then(|(login, since)| {
            let what = "the token of the login, and with it every lease,".to_owned();
            Some(Expiry { what, after: left(login.duration?, *since) })
        });
        of_leases.chain(of_login).min_by_key(|expiry| expiry.after)
    }
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
