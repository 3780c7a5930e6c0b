//! Who we are to AWS: the keys that requests are signed with, and the region that they go to.
//!
//! A file for each way to come to keys, tried in the order of [`WAYS`]. The first that is set up decides: where it fails, that is
//! told, and none after it is tried.

mod container;
mod environment;
mod issued;
mod keys;
mod machine;
mod outside;
mod profile;
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
use outside::Outside;

/// The ways, in the order in which they are tried: that of AWS' SDKs for Go and Java
/// (docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html).
const WAYS: [Way; 5] = [Way::Environment, Way::WebIdentity, Way::Profile, Way::Container, Way::Machine];

/// How long before their end keys no longer sign a request that another service sends.
const AHEAD: Duration = Duration::from_secs(60);

/// Where keys come from.
pub struct Credentials {
    outside: Outside,
    keys: Once<Rc<Keys>>,
    /// The region, which the machine's metadata service is asked for once.
    region: Once<String>,
    /// The way that has given the keys, for the log.
    taken: RefCell<Option<String>>,
    /// Whether the profile was checked for an address of AWS, which handfast does not read from there.
    is_settled: Cell<bool>,
}

impl Credentials {
    /// Nothing is asked for yet.
    pub fn new(settings: Settings, endpoints: Endpoints, context: Context, client: Arc<Client>) -> Self {
        let way = Cell::new(settings.way);
        let (requests, grace) = (Cell::new(0), Grace::default());
        let outside = Outside { settings, way, endpoints, context, client, requests, grace };
        let (keys, region) = (Once::default(), Once::default());
        Self { outside, keys, region, taken: RefCell::default(), is_settled: Cell::new(false) }
    }

    /// The way that has given the keys.
    pub fn taken(&self) -> Option<String> {
        self.taken.borrow().clone()
    }

    /// How many requests have been sent for them.
    pub fn requests(&self) -> u64 {
        self.outside.requests.get()
    }

    /// The keys, asked for by the first who needs them.
    pub async fn keys(&self) -> Result<Rc<Keys>, ProviderError> {
        self.keys.get(|_| true, self.ask()).await
    }

    /// Fails if the profile has an address of AWS, which handfast does not read from there.
    pub fn settled(&self) -> Result<(), ProviderError> {
        // A source that the configuration pins is the only one that counts.
        if self.outside.settings.way.is_none() && !self.is_settled.get() {
            profile::says_no_place(&self.outside)?;
            self.is_settled.set(true);
        }
        Ok(())
    }

    /// Other keys than those that AWS takes no more: asked for once, however many hold the stale ones.
    pub async fn refresh(&self, stale: &Rc<Keys>) -> Result<Rc<Keys>, ProviderError> {
        self.keys.get(|keys| !Rc::ptr_eq(keys, stale), self.ask()).await
    }

    /// Keys for a request that another service sends: only that service would learn that the keys have ended.
    pub async fn lasting(&self) -> Result<Rc<Keys>, ProviderError> {
        let until = self.outside.context.clock.now() + AHEAD;
        // Keys without an end are read again: they may have been replaced.
        self.keys.get(|keys| keys.expires.is_some_and(|end| end > until), self.ask()).await
    }

    async fn ask(&self) -> Result<Rc<Keys>, ProviderError> {
        let is_taken = self.taken.borrow().is_some();
        let (keys, taken) = ask(&self.outside, is_taken).await?;
        self.taken.replace(Some(taken));
        Ok(Rc::new(keys))
    }

    /// The number of the account that the keys are of.
    pub async fn account(&self) -> Result<u64, ProviderError> {
        let keys = self.keys().await?;
        sts::account(&self.outside, &keys).await
    }

    /// The region for what does not say its own: configured, a variable's, the profile's, the machine's.
    pub async fn region(&self) -> Result<String, ProviderError> {
        self.region.get(|_| true, self.ask_region()).await
    }

    async fn ask_region(&self) -> Result<String, ProviderError> {
        if let Some(region) = shared_files::known_region(&self.outside)? {
            return Ok(region);
        }
        // Without them a region is no use, and that there are none says more.
        self.keys().await?;
        machine::region(&self.outside).await?.map_err(|passed| {
            let profile = self.outside.settings.profile(&*self.outside.context.environment);
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

/// Asks for keys, and returns them with a description of their source. `is_taken` says whether there were keys before.
async fn ask(outside: &Outside, is_taken: bool) -> Result<(Keys, String), ProviderError> {
    let (keys, taken) = own_keys(outside, is_taken).await?;
    match &outside.settings.role_arn {
        Some(role) => {
            let keys = sts::assume(outside, &keys, &outside.settings.role(role)).await?;
            Ok((keys, format!("{taken}, then the role `{}`", excerpt(role))))
        }
        None => Ok((keys, taken)),
    }
}

/// The keys before any role that the configuration names.
async fn own_keys(outside: &Outside, is_taken: bool) -> Result<(Keys, String), ProviderError> {
    let only = outside.way.get();
    let ways = only.as_ref().map_or(&WAYS[..], std::slice::from_ref);
    if only.is_none() {
        profile::exists(outside)?;
    }
    let (mut passed, mut halves) = (Vec::new(), Vec::new());
    for way in ways {
        match find(outside, *way).await? {
            Found::Keys(keys) => {
                let taken = described(outside, *way);
                if !is_taken {
                    tell(&taken, &passed, &halves);
                }
                outside.way.set(Some(*way));
                return Ok((keys, taken));
            }
            Found::Passed(why) => passed.push(format!("{}: {why}", way.title())),
            Found::Half(why) => {
                passed.push(format!("{}: {why}", way.title()));
                halves.push(why);
            }
        }
    }
    let hint = match ways {
        _ if is_taken => "the keys so far came from there, and another way would be another identity",
        [_] => "this one way is pinned: set it up, or take `auth` and `profile` out of [providers.aws]",
        _ => "set up one of these; which one is to be taken can be pinned by `auth = { method = … }`",
    };
    let none = if is_taken { "no AWS credentials any more" } else { "no AWS credentials" };
    Err(ProviderError::new(ErrorKind::Denied, format!("{none}: {}", passed.join("; "))).hint(hint))
}

/// A way that was taken.
fn described(outside: &Outside, way: Way) -> String {
    match (way, outside.variable("AWS_ROLE_ARN")) {
        (Way::Profile, _) => {
            format!("{} `{}`", way.title(), excerpt(outside.settings.profile(&*outside.context.environment)))
        }
        (Way::WebIdentity, Some(role)) => format!("{} as the role `{}`", way.title(), excerpt(role)),
        _ => way.title().to_owned(),
    }
}

/// Says whose keys they are, since another way may have been meant.
fn tell(taken: &str, passed: &[String], halves: &[String]) {
    for half in halves {
        handfast_core::tracing::warn!(target: "handfast", "{half}: AWS credentials were taken another way: {taken}");
    }
    let passed = if passed.is_empty() { String::new() } else { format!("; passed over: {}", passed.join("; ")) };
    handfast_core::tracing::info!(target: "handfast", "AWS credentials taken: {taken}{passed}");
}

async fn find(outside: &Outside, way: Way) -> Result<Found, ProviderError> {
    match way {
        Way::Environment => environment::find(outside),
        Way::WebIdentity => web_identity::find(outside).await,
        Way::Profile => profile::find(outside).await,
        Way::Container => container::find(outside).await,
        Way::Machine => machine::find(outside).await,
    }
}
