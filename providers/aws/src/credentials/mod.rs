//! Who we are to AWS: the keys that requests are signed with, and the region that they go to.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use handfast_core::keys::{Key, Kind};
use handfast_core::{Context, Environment, ErrorKind, Problems, ProviderError, SecretValue, Table};
use handfast_http::Client;

use crate::endpoints::Endpoints;

/// The keys of `auth` in `[providers.NAME]`.
pub const AUTH_KEYS: &[Key] =
    &[Key::new("method", Kind::Choice(&["env"]), "The one way to take, instead of the first that works.")];

/// What the settings say of it.
pub struct Settings {
    /// The region, where the configuration or a variable says it.
    pub region: Option<String>,
}

impl Settings {
    /// Reads the settings.
    pub fn read(table: &Table, environment: &dyn Environment, _: &mut Problems) -> Self {
        let variable = || environment.variable("AWS_REGION").or_else(|| environment.variable("AWS_DEFAULT_REGION"));
        Self { region: table.string("region").or_else(variable).map(str::to_owned) }
    }
}

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

/// Where keys come from.
pub struct Credentials {
    settings: Settings,
    context: Context,
}

impl Credentials {
    /// Nothing is asked for yet.
    pub fn new(settings: Settings, _: Endpoints, context: Context, _: Arc<Client>) -> Self {
        Self { settings, context }
    }

    /// The keys, asked for once.
    pub async fn keys(&self) -> Result<Rc<Keys>, ProviderError> {
        let copy = |name: &str| {
            let value = self.context.environment.credential(name)?;
            Some(SecretValue::from(value.expose().trim_ascii().to_vec()))
        };
        let missing = || ProviderError::new(ErrorKind::Denied, "no AWS credentials");
        let id = copy("AWS_ACCESS_KEY_ID").ok_or_else(missing)?;
        Ok(Rc::new(Keys {
            id: String::from_utf8_lossy(id.expose()).into_owned(),
            secret: copy("AWS_SECRET_ACCESS_KEY").ok_or_else(missing)?,
            session_token: copy("AWS_SESSION_TOKEN"),
            expires: None,
        }))
    }

    /// Other keys than those that AWS takes no more.
    pub async fn refresh(&self, _: &Rc<Keys>) -> Result<Rc<Keys>, ProviderError> {
        self.keys().await
    }

    /// The number of the account that the keys are of.
    pub async fn account(&self) -> Result<u64, ProviderError> {
        Err(ProviderError::new(ErrorKind::Denied, "not asked yet"))
    }

    /// The region for what does not say its own.
    pub async fn region(&self) -> Result<String, ProviderError> {
        self.settings.region.clone().ok_or_else(|| ProviderError::new(ErrorKind::Denied, "no AWS region"))
    }
}
