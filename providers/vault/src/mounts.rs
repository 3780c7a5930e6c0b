//! What stands where in Vault: asked once per mount, or said by `mounts`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::Once;
use serde::Deserialize;

use crate::api::{self, Answer, Api, endpoints};
use crate::explain;

/// What a mount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Key/value, version 1.
    Kv1,
    /// Key/value, version 2: its paths have `data/` and `metadata/` after the mount.
    Kv2,
    /// Anything else: its paths are used as they stand.
    Other,
}

/// The words of `mounts`.
pub const KINDS: [(&str, Kind); 3] = [("kv-v1", Kind::Kv1), ("kv-v2", Kind::Kv2), ("other", Kind::Other)];

/// A mount that a path is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its path, without a slash at its end.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// Mounts that every Vault has, and none can move.
const FIXED: [&str; 4] = ["auth", "cubbyhole", "identity", "sys"];

/// The mounts that are known.
pub struct Mounts {
    said: Vec<Mount>,
    learned: RefCell<Vec<Mount>>,
    /// By the first name of a path: one asks, and the others wait until the mount is known.
    asking: RefCell<BTreeMap<String, Rc<Once<()>>>>,
}

impl Mounts {
    /// Those that `mounts` says.
    pub fn new(said: Vec<Mount>) -> Self {
        let fixed = FIXED.map(|path| Mount { path: path.to_owned(), kind: Kind::Other });
        let said = said.into_iter().chain(fixed).collect();
        Self { said, learned: RefCell::default(), asking: RefCell::default() }
    }

    /// The mount of a path: the longest that is known, or what Vault says.
    pub async fn of(&self, path: &str, api: &Api, token: Option<&SecretValue>) -> Result<Mount, ProviderError> {
        if let Some(mount) = self.find(path) {
            return Ok(mount);
        }
        let turn = self.asking.borrow_mut().entry(first(path).to_owned()).or_default().clone();
        let asks = Cell::new(false);
        let learn = async {
            asks.set(true);
            self.learn(path, api, token).await
        };
        match turn.get(|()| self.find(path).is_some(), learn).await {
            // Vault may tell of one path and not of another: each of the others asks for its own, all at once.
            Err(error) if error.kind == ErrorKind::Denied && !asks.get() => self.learn(path, api, token).await?,
            asked => asked?,
        }
        self.find(path).ok_or_else(|| ProviderError::new(ErrorKind::Malformed, format!("`{path}` is in no mount")))
    }

    async fn learn(&self, path: &str, api: &Api, token: Option<&SecretValue>) -> Result<(), ProviderError> {
        let mount = ask(path, api, token).await?;
        self.learned.borrow_mut().push(mount);
        Ok(())
    }

    /// Forgets a mount that Vault has told of, and is asked about again. `false` for one that was said.
    pub fn forget(&self, mount: &Mount) -> bool {
        self.learned.borrow_mut().retain(|learned| learned != mount);
        !self.says(mount)
    }

    /// Whether `mounts` says what a mount is.
    pub fn says(&self, mount: &Mount) -> bool {
        self.said.contains(mount)
    }

    /// The mount of a path: the longest that is known.
    pub fn find(&self, path: &str) -> Option<Mount> {
        let learned = self.learned.borrow();
        let known = self.said.iter().chain(&*learned);
        known.filter(|mount| below(path, &mount.path).is_some()).max_by_key(|mount| mount.path.len()).cloned()
    }
}

impl Mount {
    /// The rest of a path that is in this mount.
    pub fn rest<'p>(&self, path: &'p str) -> &'p str {
        below(path, &self.path).unwrap_or(path)
    }
}

/// What of a path stands below a mount; `None` where it is elsewhere.
pub fn below<'p>(path: &'p str, mount: &str) -> Option<&'p str> {
    path.strip_prefix(mount)?.strip_prefix('/')
}

/// The first name of a path.
pub fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// Asks what a path's mount is. Vault tells that to any token with a right below the mount.
async fn ask(path: &str, api: &Api, token: Option<&SecretValue>) -> Result<Mount, ProviderError> {
    #[derive(Deserialize)]
    struct Told {
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
        // Vault has this question, so that it is not Vault that is asked: a missing secret would be another matter.
        404 => {
            let message = format!("{attempted}: there is no Vault at this address");
            return Err(ProviderError::new(ErrorKind::Malformed, message).hint(api::ELSEWHERE));
        }
        _ => return Err(response.failure(&attempted)),
    }
    let answer: Answer<'_> = api::of(&response, &attempted)?;
    let told: Option<Told> = answer.data.and_then(|data| serde_json::from_str(data.get()).ok());
    let Some(told) = told else {
        return Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer names no mount")));
    };
    let version = told.options.and_then(|options| options.version);
    let kind = match (told.kind.as_str(), version.as_deref()) {
        ("kv", Some("2")) => Kind::Kv2,
        ("kv" | "generic", _) => Kind::Kv1,
        _ => Kind::Other,
    };
    let mount = Mount { path: told.path.trim_end_matches('/').to_owned(), kind };
    match below(path, &mount.path) {
        Some(_) => Ok(mount),
        None => {
            Err(ProviderError::new(ErrorKind::Malformed, format!("{attempted}: Vault's answer is of another mount")))
        }
    }
}

/// A key as TOML has it: quoted where it must be.
pub fn toml_key(name: &str) -> String {
    match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        true => name.to_owned(),
        false => format!("\"{}\"", name.escape_debug()),
    }
}
