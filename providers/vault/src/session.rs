//! Who we are to Vault: one login, its token, the leases that hang on it, and what is given back at the end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use handfast_core::{Context, Ending, Expiry, Lease, ProviderError};
use handfast_http::Response;
use tokio::sync::Mutex;

use crate::api::{Api, endpoints};
use crate::auth::{Login, Method};

/// What giving back may take: the app waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A session with Vault.
pub struct Session {
    /// How requests are sent.
    pub api: Api,
    method: Box<dyn Method>,
    context: Context,
    login: Mutex<Option<Result<Rc<Login>, ProviderError>>>,
    /// How many logins have been tried: whoever waited for one takes what came of it.
    tries: Cell<u64>,
    /// The leases so far: of what, the lease, when it was given.
    leases: RefCell<Vec<(String, Lease, SystemTime)>>,
    logged_in: RefCell<Option<(Rc<Login>, SystemTime)>>,
}

impl Session {
    /// A session that has not logged in yet.
    pub fn new(api: Api, method: Box<dyn Method>, context: Context) -> Self {
        Self {
            api,
            method,
            context,
            login: Mutex::new(None),
            tries: Cell::new(0),
            leases: RefCell::default(),
            logged_in: RefCell::default(),
        }
    }

    /// The login, made by the first who asks. A failure is everybody's who waited for it; who asks later tries again.
    pub async fn login(&self) -> Result<Rc<Login>, ProviderError> {
        let before = self.tries.get();
        let mut login = self.login.lock().await;
        match &*login {
            Some(Ok(login)) => return Ok(login.clone()),
            Some(Err(error)) if self.tries.get() != before => return Err(once_more(error)),
            _ => {}
        }
        let made = self.method.login(&self.api, &self.context).await.map(Rc::new);
        self.tries.set(self.tries.get() + 1);
        match made {
            Ok(made) => {
                *self.logged_in.borrow_mut() = Some((made.clone(), self.context.clock.now()));
                *login = Some(Ok(made.clone()));
                Ok(made)
            }
            Err(error) => {
                *login = Some(Err(once_more(&error)));
                Err(error)
            }
        }
    }

    /// Keeps in mind that a lease was given.
    pub fn leased(&self, path: &str, lease: Lease) {
        self.leases.borrow_mut().push((path.to_owned(), lease, self.context.clock.now()));
    }

    /// Gives back what nobody needs: after a failure everything that was issued, else the token of our own login, unless
    /// leases hang on it. A token that we were given stays. Best effort: what is left ends by itself.
    pub async fn finish(&self, ending: Ending) {
        let login = self.logged_in.borrow().as_ref().map(|(login, _)| login.clone());
        let Some(login) = login else { return };
        let leases: Vec<String> = self.leases.borrow().iter().map(|(_, lease, _)| lease.id.clone()).collect();
        let giving_back = async {
            if login.is_own && (ending == Ending::Failed || leases.is_empty()) {
                // With the token, Vault revokes its leases.
                told("the login's token", self.api.send(&endpoints::RevokeSelf, login.token.as_ref()).await);
            } else if ending == Ending::Failed {
                for lease_id in &leases {
                    let revoke = endpoints::RevokeLease { lease_id };
                    told("a lease", self.api.send(&revoke, login.token.as_ref()).await);
                }
            }
        };
        if tokio::time::timeout(PATIENCE, giving_back).await.is_err() {
            tracing::warn!(target: "handfast", "Vault did not take back in {PATIENCE:?} what this start does not need; it ends by itself");
        }
    }

    /// What ends first: a lease, or the token of our own login, where leases hang on it.
    pub fn expiry(&self) -> Option<Expiry> {
        let now = self.context.clock.now();
        let left = |duration: Duration, since: SystemTime| {
            duration.saturating_sub(now.duration_since(since).unwrap_or_default())
        };
        let leases = self.leases.borrow();
        let of_leases = leases.iter().map(|(path, lease, since)| Expiry {
            what: format!("the lease of `{path}`"),
            after: left(lease.duration, *since),
        });
        let logged_in = self.logged_in.borrow();
        let of_login = logged_in.as_ref().filter(|(login, _)| login.is_own && !leases.is_empty());
        let of_login = of_login.and_then(|(login, since)| {
            let what = "the login's token, and with it every lease,".to_owned();
            Some(Expiry { what, after: left(login.duration?, *since) })
        });
        of_leases.chain(of_login).min_by_key(|expiry| expiry.after)
    }
}

fn told(what: &str, response: Result<Response, ProviderError>) {
    match response {
        Ok(response) if response.is_success() => tracing::debug!(target: "handfast", "{what} was given back to Vault"),
        Ok(response) => {
            let status = response.status();
            tracing::warn!(target: "handfast", "cannot give {what} back to Vault, which ends by itself: it answered {status}");
        }
        Err(error) => {
            tracing::warn!(target: "handfast", "cannot give {what} back to Vault, which ends by itself: {error}");
        }
    }
}

fn once_more(error: &ProviderError) -> ProviderError {
    ProviderError {
        kind: error.kind,
        message: error.message.clone(),
        hint: error.hint.clone(),
        retry_after: error.retry_after,
    }
}
