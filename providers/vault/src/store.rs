//! Turns locators into requests, and their responses into values.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use handfast_core::{
    BoxFuture, Ending, Entry, ErrorKind, Fetched, Found, Grant, Locator, Provider, ProviderError, SecretValue,
    Standing, Summary, Term, Upkeep, compact_json, excerpt,
};
use handfast_http::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use vaultrs::api::kv2::requests::ReadSecretRequest;

use crate::active_login::ActiveLogin;
use crate::api::{self, Answer, endpoints};
use crate::explain::{Attempt, errors, is_versioned, prefix_hint};
use crate::locator::{UNWRAP, is_list, request_path};
use crate::mounts::{Kind, Mount, Mounts, toml_key};
use crate::policy;
use crate::session::Session;

/// The most secrets in a list: a start cannot fetch more, and each needs a request.
const LONGEST_LIST: usize = 4096;

/// A connection to Vault.
pub struct Store {
    session: Session,
    mounts: Mounts,
    /// Whether the data that the session's token wraps have been requested, which is possible only once.
    unwrapped: Cell<bool>,
}

impl Provider for Store {
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>> {
        Box::pin(async move {
            let login = self.session.login().await?;
            if locator.path == UNWRAP {
                return self.unwrap(locator, &login).await;
            }
            let path = request_path(locator);
            let mount = self.mounts.of(path, &self.session.api, login.token()).await?;
            match &locator.params {
                _ if is_list(locator) => self.list(path, &mount, &login).await,
                Some(params) => self.write(locator, params, &mount, &login).await,
                None => self.read(locator, &mount, &login).await,
            }
        })
    }

    fn survey<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            if locator.path == UNWRAP {
                return Ok(());
            }
            let login = self.session.login().await?;
            match self.mounts.of(request_path(locator), &self.session.api, login.token()).await {
                // The token may have no right below the mount. The policy then has the rules for an unknown kind.
                Err(error) if error.kind != ErrorKind::Denied => Err(error),
                _ => Ok(()),
            }
        })
    }

    fn policy(&self, locators: &[&Locator]) -> Option<String> {
        Some(policy::hcl(&self.mounts, self.session.api.namespace(), locators))
    }

    fn renew<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        Box::pin(self.session.renew_lease(locator))
    }

    fn upkeep(&self, upkeep: Upkeep) -> BoxFuture<'_, Result<Option<Standing>, ProviderError>> {
        Box::pin(self.session.keep_up(upkeep))
    }

    fn finish(&self, ending: Ending) -> BoxFuture<'_, ()> {
        Box::pin(self.session.finish(ending))
    }

    fn summary(&self) -> Summary {
        Summary {
            requests: self.session.api.requests(),
            expiry: self.session.expiry(),
            identity: self.session.identity(),
        }
    }
}

impl Store {
    /// A connection with this session.
    pub fn new(session: Session, mounts: Mounts) -> Self {
        Self { session, mounts, unwrapped: Cell::new(false) }
    }

    async fn read(&self, locator: &Locator, mount: &Mount, login: &Rc<ActiveLogin>) -> Result<Fetched, ProviderError> {
        let path = &locator.path;
        let version = locator.parameter("version").and_then(|version| version.parse().ok());
        if mount.kind == Kind::Kv2 {
            return self.read_version(path, version, mount, login).await;
        }
        let attempt = self.attempt("read", path, path, "read");
        if version.is_some() {
            let why = format!("`version` is of KV 2 secrets, and `{}` is another kind of mount", mount.path);
            return Err(attempt.failure(ErrorKind::NotFound, &why));
        }
        let response = self.session.api.send(&endpoints::Read(path), login.token()).await?;
        if is_versioned(&response) {
            return Err(self.is_kv2(mount, &attempt));
        }
        if !response.is_success() {
            return Err(self.refused(&attempt, &response, login));
        }
        // In a KV mount, a user can choose the field names, so they say nothing about rotation.
        let term = |data: &RawValue| if mount.kind == Kind::Other { rotation(data) } else { Term::Open };
        self.leased_data(locator, &response, &attempt, login, term)
    }

    async fn read_version(
        &self,
        path: &str,
        version: Option<u64>,
        mount: &Mount,
        login: &Rc<ActiveLogin>,
    ) -> Result<Fetched, ProviderError> {
        let rest = mount.rest(path);
        let policy_path = format!("{}/data/{rest}", mount.path);
        let prefix_hint = prefix_hint(&mount.path, rest);
        let attempt =
            Attempt { prefix_hint: prefix_hint.as_deref(), ..self.attempt("read", path, &policy_path, "read") };
        let endpoint = ReadSecretRequest { mount: mount.path.clone(), path: rest.to_owned(), version };
        let response = self.session.api.send(&endpoint, login.token()).await?;
        match response.status() {
            200 => {}
            404 => return Err(self.no_version(&response, version, mount, &attempt)),
            _ => return Err(self.refused(&attempt, &response, login)),
        }
        let answer: Answer<'_> = api::of(&response, &attempt.text())?;
        let entry: Option<Version<'_>> = answer.data.and_then(|data| serde_json::from_str(data.get()).ok());
        let term =
            entry.as_ref().and_then(|entry| entry.metadata.as_ref()).map_or(Term::Open, |known| self.deletion(known));
        match entry {
            Some(Version { data: Some(data), .. }) => Ok(Fetched::from(compact(data)).holding(term)),
            // Vault's API accepts `null` as data; Vault's own client shows such a secret as one without data.
            Some(Version { metadata: Some(Metadata { version, .. }), .. }) => {
                Err(attempt.failure(ErrorKind::NotFound, &format!("its version {version} has no data")))
            }
            _ => Err(attempt.failure(ErrorKind::Malformed, "Vault's answer has no data of a KV 2 secret")),
        }
    }

    async fn write(
        &self,
        locator: &Locator,
        params: &str,
        mount: &Mount,
        login: &Rc<ActiveLogin>,
    ) -> Result<Fetched, ProviderError> {
        let path = &locator.path;
        let attempt = self.attempt("write", path, path, "update");
        if mount.kind != Kind::Other {
            let why = "`params` would overwrite what a key/value mount holds";
            return Err(attempt.failure(ErrorKind::Malformed, why).hint("take `params` out to read the secret"));
        }
        let response = self.session.api.send(&endpoints::Write { path, params }, login.token()).await?;
        if is_versioned(&response) {
            return Err(self.is_kv2(mount, &attempt));
        }
        if !response.is_success() {
            return Err(self.refused(&attempt, &response, login));
        }
        self.leased_data(locator, &response, &attempt, login, |data| self.end(data))
    }

    async fn list(&self, path: &str, mount: &Mount, login: &Rc<ActiveLogin>) -> Result<Fetched, ProviderError> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<String>,
        }
        let list_path = match mount.kind {
            Kind::Kv2 => format!("{}/metadata/{}", mount.path, mount.rest(path)),
            Kind::Kv1 | Kind::Other => path.to_owned(),
        };
        let prefix_hint = prefix_hint(&mount.path, mount.rest(path)).filter(|_| mount.kind == Kind::Kv2);
        let attempt = Attempt { prefix_hint: prefix_hint.as_deref(), ..self.attempt("list", path, &list_path, "list") };
        let response = self.session.api.list(&list_path, login.token()).await?;
        match response.status() {
            200 => {}
            _ if is_versioned(&response) => return Err(self.is_kv2(mount, &attempt)),
            404 if errors(&response).is_empty() => {
                let error = attempt.failure(ErrorKind::NotFound, "there is nothing below it");
                return Err(self.with_hint(error, mount, &attempt));
            }
            _ => return Err(self.refused(&attempt, &response, login)),
        }
        let answer: Answer<'_> = api::of(&response, &attempt.text())?;
        let Some(Keys { keys }) = answer.data.and_then(|data| serde_json::from_str(data.get()).ok()) else {
            return Err(attempt.failure(ErrorKind::Malformed, "Vault's answer has no list of names"));
        };
        // A name that ends with a slash is a directory.
        let names: Vec<String> = keys.into_iter().filter(|key| !key.ends_with('/')).collect();
        if names.is_empty() {
            return Err(attempt.failure(ErrorKind::NotFound, "there is no secret directly below it"));
        }
        if names.len() > LONGEST_LIST {
            let why = format!("there are {} secrets directly below it, more than {LONGEST_LIST}", names.len());
            return Err(attempt.failure(ErrorKind::Malformed, &why));
        }
        // The path of such a name would be another path than the secret's.
        if let Some(name) =
            names.iter().find(|name| name.contains('/') || ["", ".", "..", "*"].contains(&name.as_str()))
        {
            let why = format!("the name of its secret `{}` cannot be a file's", excerpt(name));
            return Err(attempt.failure(ErrorKind::Malformed, &why));
        }
        let entries = names.into_iter().map(|name| {
            let locator = Locator { path: format!("{path}{name}"), parameters: Vec::new(), params: None };
            Entry { name, found: Found::At(locator) }
        });
        Ok(Fetched::from(entries.collect::<Vec<_>>()))
    }

    /// Adds a hint to the error for a path that was not found in a mount.
    fn with_hint(&self, error: ProviderError, mount: &Mount, attempt: &Attempt<'_>) -> ProviderError {
        match attempt.prefix_hint {
            Some(hint) => error.hint(hint),
            // A KV 1 mount responds to a request for KV 2 as if the secret were missing.
            None if error.hint.is_none() && mount.kind == Kind::Kv2 && self.mounts.is_configured(mount) => error
                .hint(format!("`mounts` says that `{}` is KV 2: if it is KV 1, nothing is found there", mount.path)),
            None => error,
        }
    }

    /// The error for a KV 2 secret, or a version of it, that was not found.
    fn no_version(
        &self,
        response: &Response,
        version: Option<u64>,
        mount: &Mount,
        attempt: &Attempt<'_>,
    ) -> ProviderError {
        let metadata = serde_json::from_slice::<Answer<'_>>(response.body().expose())
            .ok()
            .and_then(|answer| serde_json::from_str::<Version<'_>>(answer.data?.get()).ok())
            .and_then(|entry| entry.metadata);
        match metadata {
            Some(Metadata { destroyed: true, version, .. }) => {
                attempt.failure(ErrorKind::NotFound, &format!("its version {version} was destroyed"))
            }
            Some(Metadata { version, .. }) => {
                let error = attempt.failure(ErrorKind::NotFound, &format!("its version {version} was deleted"));
                let rest = mount.rest(attempt.path);
                let undelete = format!("`vault kv undelete -mount={} -versions={version} {rest}`", mount.path);
                error.hint(format!("{undelete} brings it back"))
            }
            None => {
                let mut error = attempt.refused(response);
                if version.is_some() && error.kind == ErrorKind::NotFound {
                    // Vault's response is the same in both cases.
                    error.message.push_str(", or it has no such version");
                }
                self.with_hint(error, mount, attempt)
            }
        }
    }

    /// The error if a request for another kind of mount went to a KV 2 mount. The secret must not count as missing.
    fn is_kv2(&self, mount: &Mount, attempt: &Attempt<'_>) -> ProviderError {
        if self.mounts.forget(mount) {
            return attempt.failure(ErrorKind::Unavailable, "the mount has become KV 2 since the start asked about it");
        }
        let why = format!("`mounts` says that `{}` is another mount than KV 2, and it is one", mount.path);
        attempt
            .failure(ErrorKind::Malformed, &why)
            .hint(format!("write `mounts = {{ {} = \"kv-v2\" }}`", toml_key(&mount.path)))
    }

    /// Fetches the data that the session's own token wraps.
    async fn unwrap(&self, locator: &Locator, login: &Rc<ActiveLogin>) -> Result<Fetched, ProviderError> {
        let attempt = self.attempt("unwrap", UNWRAP, UNWRAP, "update");
        let again = self.unwrapped.replace(true);
        let response = self.session.api.send(&endpoints::Unwrap, login.token()).await?;
        if !response.is_success() {
            return Err(crate::auth::unwrap_refused(&response, &attempt.text(), again));
        }
        self.leased_data(locator, &response, &attempt, login, |_| Term::Open)
    }

    /// The data of a response, with its lease or its term.
    fn leased_data(
        &self,
        locator: &Locator,
        response: &Response,
        attempt: &Attempt<'_>,
        login: &Rc<ActiveLogin>,
        term: impl Fn(&RawValue) -> Term,
    ) -> Result<Fetched, ProviderError> {
        let no_data = || attempt.failure(ErrorKind::Malformed, "Vault's answer has no data");
        // The response to a write without a result has no body.
        if response.status() == 204 {
            return Err(no_data());
        }
        let answer: Answer<'_> = api::of(response, &attempt.text())?;
        let Some(data) = answer.data else {
            let error = no_data();
            return Err(match answer.auth {
                Some(_) => error
                    .hint("it is a token: `auth = { method = \"token\", wrapped = true }` logs in with a wrapped one"),
                None => error,
            });
        };
        // Only a lease id makes it a lease, even if there is a duration.
        let leased = answer.lease().map(|lease| self.session.leased(locator, lease, login));
        Ok(Fetched::from(compact(data)).holding(leased.unwrap_or_else(|| term(data))))
    }

    /// The time at which Vault deletes a version, if `delete_version_after` is set
    /// (developer.hashicorp.com/vault/api-docs/secret/kv).
    fn deletion(&self, Metadata { deletion_time, .. }: &Metadata) -> Term {
        let time = humantime::parse_rfc3339(deletion_time).ok();
        let time = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        time.map_or(Term::Open, |time| Term::Until(self.session.until(time.as_secs())))
    }

    /// The end of a secret that a write has created, such as a certificate (developer.hashicorp.com/vault/api-docs/secret/pki).
    fn end(&self, data: &RawValue) -> Term {
        #[derive(Deserialize)]
        struct Created {
            expiration: u64,
        }
        let created = serde_json::from_str(data.get()).ok();
        created.map_or(Term::Open, |Created { expiration }| Term::Ends(self.session.until(expiration)))
    }

    /// The failure for a response without success. Informs the session too.
    fn refused(&self, attempt: &Attempt<'_>, response: &Response, login: &ActiveLogin) -> ProviderError {
        self.session.refused(login, response);
        attempt.refused(response)
    }

    fn attempt<'a>(
        &'a self,
        verb: &'static str,
        path: &'a str,
        policy_path: &'a str,
        capability: &'static str,
    ) -> Attempt<'a> {
        let (namespace, uses_agent) = (self.session.api.namespace(), self.session.uses_agent());
        Attempt { verb, path, policy_path, capability, namespace, prefix_hint: None, uses_agent }
    }
}

/// The next change of a static role's credentials (developer.hashicorp.com/vault/api-docs/secret/databases).
fn rotation(data: &RawValue) -> Term {
    #[derive(Deserialize)]
    struct Static {
        ttl: u64,
        rotation_period: Option<IgnoredAny>,
        rotation_schedule: Option<IgnoredAny>,
    }
    let rotates = |role: &Static| role.rotation_period.is_some() || role.rotation_schedule.is_some();
    let role = serde_json::from_str(data.get()).ok().filter(rotates);
    role.map_or(Term::Open, |Static { ttl, .. }| Term::Rotates(Duration::from_secs(ttl)))
}

/// The data of a KV 2 secret's version.
#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    destroyed: bool,
    #[serde(default)]
    version: u64,
    /// Empty if the version is not deleted, now or later.
    #[serde(default)]
    deletion_time: String,
}

/// The text of a JSON value. Vault writes no white space between its tokens, but a proxy might.
fn compact(data: &RawValue) -> SecretValue {
    SecretValue::from(std::mem::take(&mut *compact_json(data.get())).into_bytes())
}
