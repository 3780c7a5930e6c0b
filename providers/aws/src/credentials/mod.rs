//! Who we are to AWS: the keys that requests are signed with, and the region that they go to.
//!
//! A file for each way to come to keys, tried in the order of [`WAYS`]. The first that is set up decides: where it fails, that is
//! told, and none after it is tried.

mod container;
mod environment;
mod issued;
mod machine;
mod profile;
mod settings;
mod sts;
mod web_identity;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use handfast_core::{Context, Credential, ErrorKind, ProviderError, SecretValue};
use handfast_http::{Client, Request, Response};
use tokio::sync::Mutex;

pub use settings::{AUTH_KEYS, Settings, Way};

use crate::endpoints::Endpoints;

/// The ways, in the order in which they are tried: that of AWS' SDKs for Go and Java
/// (docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html).
const WAYS: [Way; 5] = [Way::Environment, Way::WebIdentity, Way::Profile, Way::Container, Way::Machine];

/// The region of what has none: STS is everywhere, and this one is never switched off.
const ANY_REGION: &str = "us-east-1";

/// The keys of an identity.
pub struct Keys {
    /// The access key's id, which is no secret.
    pub id: String,
    /// The access key.
    pub secret: SecretValue,
    /// What goes with keys that end.
    pub session_token: Option<SecretValue>,
    /// When they end.
    pub expires: Option<SystemTime>,
}

/// What a way has come to.
enum Found {
    /// Keys.
    Keys(Keys),
    /// It is not set up here: why.
    Passed(String),
}

/// Where keys come from.
pub struct Credentials {
    outside: Outside,
    keys: Mutex<Option<Result<Rc<Keys>, ProviderError>>>,
    /// How often keys were asked for: whoever waited takes what came of it.
    tries: Cell<u64>,
}

/// What every way may know and use.
struct Outside {
    settings: Settings,
    endpoints: Endpoints,
    context: Context,
    client: Arc<Client>,
    requests: Cell<u64>,
}

impl Credentials {
    /// Nothing is asked for yet.
    pub fn new(settings: Settings, endpoints: Endpoints, context: Context, client: Arc<Client>) -> Self {
        let outside = Outside { settings, endpoints, context, client, requests: Cell::new(0) };
        Self { outside, keys: Mutex::new(None), tries: Cell::new(0) }
    }

    /// How many requests have been sent for them.
    pub fn requests(&self) -> u64 {
        self.outside.requests.get()
    }

    /// The keys, asked for by the first who needs them. A failure is everybody's who waited; who asks later tries again.
    pub async fn keys(&self) -> Result<Rc<Keys>, ProviderError> {
        let before = self.tries.get();
        let mut keys = self.keys.lock().await;
        match &*keys {
            Some(Ok(keys)) => return Ok(keys.clone()),
            Some(Err(error)) if self.tries.get() != before => return Err(error.once_more()),
            _ => {}
        }
        self.renew(&mut keys).await
    }

    /// Other keys than those that AWS takes no more: asked for once, however many hold the stale ones.
    pub async fn refresh(&self, stale: &Rc<Keys>) -> Result<Rc<Keys>, ProviderError> {
        let mut keys = self.keys.lock().await;
        match &*keys {
            Some(Ok(keys)) if !Rc::ptr_eq(keys, stale) => Ok(keys.clone()),
            _ => self.renew(&mut keys).await,
        }
    }

    async fn renew(&self, keys: &mut Option<Result<Rc<Keys>, ProviderError>>) -> Result<Rc<Keys>, ProviderError> {
        let made = self.outside.keys().await.map(Rc::new);
        self.tries.set(self.tries.get() + 1);
        *keys = Some(made.as_ref().map(Rc::clone).map_err(ProviderError::once_more));
        made
    }

    /// The number of the account that the keys are of.
    pub async fn account(&self) -> Result<u64, ProviderError> {
        let keys = self.keys().await?;
        sts::account(&self.outside, &keys).await
    }

    /// The region for what does not say its own: configured, a variable's, the profile's, the machine's.
    pub async fn region(&self) -> Result<String, ProviderError> {
        if let Some(region) = self.outside.known_region()? {
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

impl Outside {
    async fn keys(&self) -> Result<Keys, ProviderError> {
        let keys = self.own_keys().await?;
        match &self.settings.role_arn {
            Some(role) => sts::assume(self, &keys, &self.settings.role(role)).await,
            None => Ok(keys),
        }
    }

    /// The keys before any role that the configuration names.
    async fn own_keys(&self) -> Result<Keys, ProviderError> {
        let ways = self.settings.way.as_ref().map_or(&WAYS[..], std::slice::from_ref);
        let mut passed = Vec::new();
        for way in ways {
            match self.find(*way).await? {
                Found::Keys(keys) => return Ok(keys),
                Found::Passed(why) => passed.push(format!("{}: {why}", way.title())),
            }
        }
        let hint = match ways {
            [_] => "this one way is pinned: set it up, or take `auth` and `profile` out of [providers.aws]",
            _ => "set up one of these; which one is to be taken can be pinned by `auth = { method = … }`",
        };
        Err(ProviderError::new(ErrorKind::Denied, format!("no AWS credentials: {}", passed.join("; "))).hint(hint))
    }

    async fn find(&self, way: Way) -> Result<Found, ProviderError> {
        match way {
            Way::Environment => environment::find(self),
            Way::WebIdentity => web_identity::find(self).await,
            Way::Profile => profile::find(self).await,
            Way::Container => container::find(self).await,
            Way::Machine => machine::find(self).await,
        }
    }

    /// The region as far as it is known without asking anybody.
    fn known_region(&self) -> Result<Option<String>, ProviderError> {
        match &self.settings.region {
            Some(region) => Ok(Some(region.clone())),
            None => profile::region(self),
        }
    }

    async fn send(&self, client: &Client, request: Request) -> Result<Response, ProviderError> {
        self.requests.set(self.requests.get() + 1);
        client.send(request).await
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.context.environment.variable(name)
    }
}

fn denied(message: impl Into<String>) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, message.into())
}

/// Reads a token's file, which its keeper changes: anew at each use.
fn token_file(path: &str, context: &Context) -> Result<SecretValue, ProviderError> {
    Credential::File(path.into()).read("token", context)
}
