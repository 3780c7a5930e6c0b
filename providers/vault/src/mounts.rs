//! The mounts in Vault and their kinds: from the setting `mounts`, or requested from Vault once for each mount.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::Once;
use serde::Deserialize;

use crate::api::{self, Answer, Api, endpoints};
use crate::explain;

/// The kind of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Key/value, version 1.
    Kv1,
    /// Key/value, version 2: its paths have `data/` and `metadata/` after the mount.
    Kv2,
    /// Any other kind: its paths are used unchanged.
    Other,
}

/// The values in `mounts`.
pub const KINDS: [(&str, Kind); 3] = [("kv-v1", Kind::Kv1), ("kv-v2", Kind::Kv2), ("other", Kind::Other)];

/// A mount that a path is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its path, without a slash at its end.
    pub path: String,
    /// Its kind.
    pub kind: Kind,
}

/// Mounts that every Vault has, and that cannot be moved.
const FIXED: [&str; 4] = ["auth", "cubbyhole", "identity", "sys"];

/// The known mounts.
pub struct Mounts {
    configured: Vec<Mount>,
    fetched: RefCell<Vec<Mount>>,
    /// Running requests by the first name of the path. Other fetches with this name wait for the request.
    requests: RefCell<BTreeMap<String, Rc<Once<()>>>>,
}

impl Mounts {
    /// The mounts of the setting `mounts`.
    pub fn new(configured: Vec<Mount>) -> Self {
        let fixed = FIXED.map(|path| Mount { path: path.to_owned(), kind: Kind::Other });
        let configured = configured.into_iter().chain(fixed).collect();
        Self { configured, fetched: RefCell::default(), requests: RefCell::default() }
    }

    /// The mount of a path: the longest known mount, otherwise requested from Vault.
    pub async fn of(&self, path: &str, api: &Api, token: Option<&SecretValue>) -> Result<Mount, ProviderError> {
        if let Some(mount) = self.find(path) {
            return Ok(mount);
        }
        let shared = self.requests.borrow_mut().entry(first(path).to_owned()).or_default().clone();
        let is_own = Cell::new(false);
        let fetch = async {
            is_own.set(true);
            self.fetch(path, api, token).await
        };
        match shared.get(|()| self.find(path).is_some(), fetch).await {
            // Vault may refuse to disclose the mount for one path, and disclose it for another, so a waiting fetch sends its own
            // request.
            Err(error) if error.kind == ErrorKind::Denied && !is_own.get() => self.fetch(path, api, token).await?,
            result => result?,
        }
        self.find(path).ok_or_else(|| ProviderError::new(ErrorKind::Malformed, format!("`{path}` is in no mount")))
    }

    async fn fetch(&self, path: &str, api: &Api, token: Option<&SecretValue>) -> Result<(), ProviderError> {
        let mount = request_mount(path, api, token).await?;
        self.fetched.borrow_mut().push(mount);
        Ok(())
    }

    /// Removes a mount that was requested from Vault, so that it is requested again. Returns `false` for a mount of the setting
    /// `mounts`.
    pub fn forget(&self, mount: &Mount) -> bool {
        self.fetched.borrow_mut().retain(|fetched| fetched != mount);
        !self.is_configured(mount)
    }

    /// Whether a mount is in the setting `mounts`.
    pub fn is_configured(&self, mount: &Mount) -> bool {
        self.configured.contains(mount)
    }

    /// The longest known mount of a path.
    pub fn find(&self, path: &str) -> Option<Mount> {
        let fetched = self.fetched.borrow();
        let known = self.configured.iter().chain(&*fetched);
        known.filter(|mount| below(path, &mount.path).is_some()).max_by_key(|mount| mount.path.len()).cloned()
    }
}

impl Mount {
    /// The rest of a path below this mount.
    pub fn rest<'p>(&self, path: &'p str) -> &'p str {
        below(path, &self.path).unwrap_or(path)
    }
}

/// The rest of a path below a mount; `None` if the path is elsewhere.
pub fn below<'p>(path: &'p str, mount: &str) -> Option<&'p str> {
    path.strip_prefix(mount)?.strip_prefix('/')
}

/// The first name of a path.
pub fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// Requests a path's mount. Vault discloses it to any token with a right below the mount.
async fn request_mount(path: &str, api: &Api, token: Option<&SecretValue>) -> Result<Mount, ProviderError> {
    #[derive(Deserialize)]
    struct Found {
        path: String,
        #[serde(rename = "type")]
        kind: String,
        options: Option<Options>,
    }
    #[derive(Deserialize)]
    struct Options {
        version: Option<String>,
    }
    let namespace = api.namespace().map(|name| format!(" in the namespace `{name}`")).unwrap_or_default();
    let attempted = format!("cannot ask what stands at `{path}`{namespace}");
    let response = api.send(&endpoints::Mount(path), token).await?;
    if let Some(error) = explain::unavailable(&response, &attempted) {
        return Err(error);
    }
    match response.status() {
        200 => {}
        400 | 403 => {
            let (error, cause) = match explain::is_no_token(&explain::errors(&response)) {
                true if token.is_none() => return Err(explain::no_token(&attempted)),
                true => (explain::invalid_token(&attempted), explain::INVALID_TOKEN),
                false => (
                    ProviderError::new(ErrorKind::Denied, format!("{attempted}: permission denied")),
                    "either the token has no right below this mount, or there is no such mount",
                ),
            };
            return Err(error.hint(format!(
                "{cause}; or Vault does not tell the token what stands there: then `mounts = {{ {} = \"kv-v2\" }}` in \
                 [providers.vault] says it",
                toml_key(first(path))
            )));
        }
        // Every Vault has this endpoint, so the server is not Vault. The secret must not count as missing.
        404 => {
            let message = format!("{attempted}: there is no Vault at this address");
            return Err(ProviderError::new(ErrorKind::Malformed, message).hint(api::ELSEWHERE));
        }
        _ => return Err(response.failure(&attempted)),
    }
    let answer: Answer<'_> = api::of(&response, &attempted)?;
    let found: Option<Found> = answer.data.and_then(|data| serde_json::from_str(data.get()).ok());
    let Some(found) = found else {
        return Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer names no mount")));
    };
    let version = found.options.and_then(|options| options.version);
    let kind = match (found.kind.as_str(), version.as_deref()) {
        ("kv", Some("2")) => Kind::Kv2,
        ("kv" | "generic", _) => Kind::Kv1,
        _ => Kind::Other,
    };
    let mount = Mount { path: found.path.trim_end_matches('/').to_owned(), kind };
    match below(path, &mount.path) {
        Some(_) => Ok(mount),
        None => {
            Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer is of another mount")))
        }
    }
}

/// A key in TOML, quoted if necessary.
pub fn toml_key(name: &str) -> String {
    match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        true => name.to_owned(),
        false => format!("\"{}\"", name.escape_debug()),
    }
}
