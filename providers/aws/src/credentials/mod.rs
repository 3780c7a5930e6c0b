//! The credentials for AWS: the keys that sign requests, and the region.
//!
//! Each way to get keys has its own file. They are tried in the order of [`WAYS`], until one is set up. If that one fails, its
//! error is reported, and the others are not tried.

mod container;
mod environment;
mod issued;
mod keys;
mod machine;
mod profile;
mod resources;
mod settings;
mod shared_files;
mod sts;
mod web_identity;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use handfast_core::{Context, ErrorKind, Grace, ProviderError, excerpt};
use handfast_http::{Client, Once};

pub use keys::Keys;
pub use settings::{AUTH_KEYS, Settings, Way};

use crate::endpoints::Endpoints;
use keys::Found;
use resources::Resources;

/// The ways to get keys, in the order of AWS's SDKs for Go and Java
/// (docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html).
const WAYS: [Way; 5] = [Way::Environment, Way::WebIdentity, Way::Profile, Way::Container, Way::Machine];

/// Keys that expire within this time do not sign a request that another service sends.
const MARGIN: Duration = Duration::from_secs(60);

/// The credentials of an instance.
pub struct Credentials {
    resources: Resources,
    keys: Once<Rc<Keys>>,
    /// The region, which is requested from the machine's metadata service at most once.
    region: Once<String>,
    /// A description of the way that the keys came from, for the log.
    source: RefCell<Option<String>>,
    /// Whether the profile was checked for an endpoint, which handfast does not read from a profile.
    is_profile_checked: Cell<bool>,
}

impl Credentials {
    /// Credentials that are not requested yet.
    pub fn new(settings: Settings, endpoints: Endpoints, context: Context, client: Arc<Client>) -> Self {
        let way = Cell::new(settings.way);
        let (requests, grace) = (Cell::new(0), Grace::default());
        let resources = Resources { settings, way, endpoints, context, client, requests, grace };
        let (keys, region) = (Once::default(), Once::default());
        Self { resources, keys, region, source: RefCell::default(), is_profile_checked: Cell::new(false) }
    }

    /// A description of the way that the keys came from.
    pub fn source(&self) -> Option<String> {
        self.source.borrow().clone()
    }

    /// The number of requests for credentials.
    pub fn requests(&self) -> u64 {
        self.resources.requests.get()
    }

    /// The keys. The first caller requests them.
    pub async fn keys(&self) -> Result<Rc<Keys>, ProviderError> {
        self.keys.get(|_| true, self.request_keys()).await
    }

    /// Fails if the profile has an endpoint, which handfast does not read from a profile.
    pub fn check_profile(&self) -> Result<(), ProviderError> {
        // If the configuration names the way, the profile does not matter.
        if self.resources.settings.way.is_none() && !self.is_profile_checked.get() {
            profile::check_endpoint(&self.resources)?;
            self.is_profile_checked.set(true);
        }
        Ok(())
    }

    /// New keys, if AWS does not accept these any more. All callers with the same stale keys share one request.
    pub async fn refresh(&self, stale: &Rc<Keys>) -> Result<Rc<Keys>, ProviderError> {
        self.keys.get(|keys| !Rc::ptr_eq(keys, stale), self.request_keys()).await
    }

    /// Keys for a request that another service sends. They must not expire soon, because only that service would see the refusal.
    pub async fn unexpired(&self) -> Result<Rc<Keys>, ProviderError> {
        let until = self.resources.context.clock.now() + MARGIN;
        // Keys without an expiry are read again, because they may have been replaced.
        self.keys.get(|keys| keys.expires.is_some_and(|end| end > until), self.request_keys()).await
    }

    async fn request_keys(&self) -> Result<Rc<Keys>, ProviderError> {
        let had_keys = self.source.borrow().is_some();
        let (keys, source) = request_keys(&self.resources, had_keys).await?;
        self.source.replace(Some(source));
        Ok(Rc::new(keys))
    }

    /// The number of the keys' account.
    pub async fn account(&self) -> Result<u64, ProviderError> {
        let keys = self.keys().await?;
        sts::account(&self.resources, &keys).await
    }

    /// The region for references without one: from the configuration, a variable, the profile or the machine.
    pub async fn region(&self) -> Result<String, ProviderError> {
        self.region.get(|_| true, self.request_region()).await
    }

    async fn request_region(&self) -> Result<String, ProviderError> {
        if let Some(region) = shared_files::known_region(&self.resources)? {
            return Ok(region);
        }
        // Missing keys are the more important error, since a region is of no use without keys.
        self.keys().await?;
        machine::region(&self.resources).await?.map_err(|passed| {
            let profile = self.resources.settings.profile(&*self.resources.context.environment);
            ProviderError::new(
                ErrorKind::Denied,
                format!(
                    "no AWS region: neither `AWS_REGION` nor `AWS_DEFAULT_REGION` is set, the profile `{profile}` has none, and {passed}"
                ),
            )
            .hint("set `region` in [providers.aws], or AWS_REGION")
        })
    }
}

/// Requests keys, and returns them with a description of their source. `had_keys` says whether there were keys before.
async fn request_keys(resources: &Resources, had_keys: bool) -> Result<(Keys, String), ProviderError> {
    let (keys, source) = first_keys(resources, had_keys).await?;
    match &resources.settings.role_arn {
        Some(role) => {
            let keys = sts::assume(resources, &keys, &resources.settings.role(role)).await?;
            Ok((keys, format!("{source}, then the role `{}`", excerpt(role))))
        }
        None => Ok((keys, source)),
    }
}

/// The keys that assume the configured role, or the keys themselves if no role is configured.
async fn first_keys(resources: &Resources, had_keys: bool) -> Result<(Keys, String), ProviderError> {
    let only = resources.way.get();
    let ways = only.as_ref().map_or(&WAYS[..], std::slice::from_ref);
    if only.is_none() {
        profile::exists(resources)?;
    }
    let (mut skipped, mut incomplete) = (Vec::new(), Vec::new());
    for way in ways {
        match find(resources, *way).await? {
            Found::Keys(keys) => {
                let source = describe(resources, *way);
                if !had_keys {
                    log_source(&source, &skipped, &incomplete);
                }
                resources.way.set(Some(*way));
                return Ok((keys, source));
            }
            Found::NotSetUp(why) => skipped.push(format!("{}: {why}", way.title())),
            Found::Incomplete(why) => {
                skipped.push(format!("{}: {why}", way.title()));
                incomplete.push(why);
            }
        }
    }
    let hint = match ways {
        _ if had_keys => "the keys so far came from there, and another way would be another identity",
        [_] => "this one way is pinned: set it up, or take `auth` and `profile` out of [providers.aws]",
        _ => "set up one of these; which one is to be taken can be pinned by `auth = { method = … }`",
    };
    let none = if had_keys { "no AWS credentials any more" } else { "no AWS credentials" };
    Err(ProviderError::new(ErrorKind::Denied, format!("{none}: {}", skipped.join("; "))).hint(hint))
}

/// A description of a way.
fn describe(resources: &Resources, way: Way) -> String {
    match (way, resources.variable("AWS_ROLE_ARN")) {
        (Way::Profile, _) => {
            format!("{} `{}`", way.title(), excerpt(resources.settings.profile(&*resources.context.environment)))
        }
        (Way::WebIdentity, Some(role)) => format!("{} as the role `{}`", way.title(), excerpt(role)),
        _ => way.title().to_owned(),
    }
}

/// Logs the source of the keys, because the user may have meant another way.
fn log_source(source: &str, skipped: &[String], incomplete: &[String]) {
    for half in incomplete {
        handfast_core::tracing::warn!(target: "handfast", "{half}: AWS credentials were taken another way: {source}");
    }
    let skipped = if skipped.is_empty() { String::new() } else { format!("; passed over: {}", skipped.join("; ")) };
    handfast_core::tracing::info!(target: "handfast", "AWS credentials taken: {source}{skipped}");
}

async fn find(resources: &Resources, way: Way) -> Result<Found, ProviderError> {
    match way {
        Way::Environment => environment::find(resources),
        Way::WebIdentity => web_identity::find(resources).await,
        Way::Profile => profile::find(resources).await,
        Way::Container => container::find(resources).await,
        Way::Machine => machine::find(resources).await,
    }
}
