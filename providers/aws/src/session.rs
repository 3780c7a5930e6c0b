//! Calls to AWS: one client for each region, and a second attempt with new keys or a corrected clock.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::config::{BehaviorVersion, IdentityCache, StalledStreamProtectionConfig, retry, timeout};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::SdkConfig;
use aws_types::region::Region;
use handfast_core::{Clock, Context};
use handfast_http::Client;

use crate::connector::Connector;
use crate::credentials::{Credentials, Keys};
use crate::endpoints::{Endpoints, Service};
use crate::refusal::{About, Failed};

/// The clients and credentials that all calls share.
pub struct Session {
    /// The credentials.
    pub credentials: Credentials,
    endpoints: Endpoints,
    connector: Connector,
    clock: Arc<dyn Clock>,
    clients: RefCell<BTreeMap<String, Rc<Clients>>>,
}

/// The SDKs' clients for one region. Each is made at its first use, because making it takes time.
pub struct Clients {
    secrets: OnceCell<aws_sdk_secretsmanager::Client>,
    parameters: OnceCell<aws_sdk_ssm::Client>,
    endpoints: Endpoints,
    config: SdkConfig,
    keys: Rc<Keys>,
}

impl Clients {
    /// The client for Secrets Manager.
    pub fn secrets(&self) -> &aws_sdk_secretsmanager::Client {
        self.secrets.get_or_init(|| aws_sdk_secretsmanager::Client::new(&self.config_for(Service::SecretsManager)))
    }

    /// The client for Parameter Store.
    pub fn parameters(&self) -> &aws_sdk_ssm::Client {
        self.parameters.get_or_init(|| aws_sdk_ssm::Client::new(&self.config_for(Service::Ssm)))
    }

    /// The SDK's configuration for a service. FIPS and dual stack apply only to AWS's own host names; with an endpoint, the SDKs
    /// refuse them.
    fn config_for(&self, service: Service) -> SdkConfig {
        let builder = self.config.clone().into_builder();
        match self.endpoints.configured(service) {
            Some(url) => builder.endpoint_url(url).build(),
            None => builder.use_fips(self.endpoints.fips).use_dual_stack(self.endpoints.dual_stack).build(),
        }
    }
}

impl Session {
    /// A session that has sent no request yet.
    pub fn new(credentials: Credentials, endpoints: Endpoints, context: &Context, client: Arc<Client>) -> Self {
        let connector = Connector::new(client);
        Self { credentials, endpoints, connector, clock: context.clock.clone(), clients: RefCell::default() }
    }

    /// The number of requests so far.
    pub fn requests(&self) -> u64 {
        self.connector.requests() + self.credentials.requests()
    }

    /// Makes a call. If the keys have expired, or AWS does not know them any more, repeats it with new keys. If the clock is
    /// wrong, repeats it too, because the SDK's client has read AWS's time from the first response.
    pub async fn call<T, E, F>(&self, region: &str, call: impl Fn(Rc<Clients>) -> F) -> Result<T, Failed>
    where
        E: ProvideErrorMetadata,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let keys = self.credentials.keys().await.map_err(Failed::Unanswered)?;
        self.credentials.check_profile().map_err(Failed::Unanswered)?;
        let failed = match call(self.clients(region, &keys)?).await.map_err(Failed::of) {
            Err(Failed::Refused(refusal)) => refusal,
            other => return other,
        };
        let must_refresh = match failed.about() {
            About::ExpiredKeys => true,
            // Keys without an expiry may have been replaced in their file.
            About::Keys => keys.expires.is_none(),
            _ => false,
        };
        let keys = match failed.about() {
            _ if must_refresh => match self.credentials.refresh(&keys).await.map_err(Failed::Unanswered)? {
                fresh if fresh.id != keys.id => fresh,
                // There are no new keys.
                _ => return Err(Failed::Refused(failed)),
            },
            About::Clock => keys,
            _ => return Err(Failed::Refused(failed)),
        };
        call(self.clients(region, &keys)?).await.map_err(Failed::of)
    }

    fn clients(&self, region: &str, keys: &Rc<Keys>) -> Result<Rc<Clients>, Failed> {
        let mut clients = self.clients.borrow_mut();
        if let Some(known) = clients.get(region).filter(|known| Rc::ptr_eq(&known.keys, keys)) {
            return Ok(known.clone());
        }
        let new = Rc::new(Clients {
            secrets: OnceCell::new(),
            parameters: OnceCell::new(),
            endpoints: self.endpoints.clone(),
            config: self.config(region, keys)?,
            keys: keys.clone(),
        });
        clients.insert(region.to_owned(), new.clone());
        Ok(new)
    }

    /// Sets everything that the SDKs would otherwise read from the environment, except for the endpoint.
    fn config(&self, region: &str, keys: &Keys) -> Result<SdkConfig, Failed> {
        Ok(SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.connector.clone())
            .time_source(Time(self.clock.clone()))
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(keys.for_sdk().map_err(Failed::Unanswered)?))
            // `Credentials` shares the keys between all calls, and renews them if AWS refuses them.
            .identity_cache(IdentityCache::no_cache())
            // The scheduler retries, and the HTTP client has the time limits.
            .retry_config(retry::RetryConfig::disabled())
            .timeout_config(timeout::TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build())
    }
}

/// The context's clock for the SDK.
struct Time(Arc<dyn Clock>);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

impl TimeSource for Time {
    fn now(&self) -> SystemTime {
        self.0.now()
    }
}
