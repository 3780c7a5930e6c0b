//! The settings: `[providers.aws]`, otherwise the environment variables of AWS's own tools
//! (docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html).

use std::rc::Rc;
use std::sync::Arc;

use handfast_core::{
    Complaint, Configured, Context, Environment, Locator, Problems, Provider, ProviderError, Settings, Sockets, Table,
};
use handfast_http::{CaSource, Client, Options, Url};

use crate::credentials::{self, Credentials};
use crate::endpoints::{self, Endpoints};
use crate::locator;
use crate::policy;
use crate::session::Session;
use crate::store::Store;

/// An instance with its settings.
struct Aws {
    credentials: credentials::Settings,
    endpoints: Endpoints,
    options: Options,
    missing: Vec<Complaint>,
}

/// Reads the settings.
pub fn configure(settings: Settings<'_>, problems: &mut Problems) -> Box<dyn Configured> {
    let Settings { table, fetch, environment, .. } = settings;
    let mut missing = unreadable(environment);
    let mut options = options(&[fetch, &table], environment, problems);
    options.plaintext = endpoints::plaintext(&table);
    missing.extend(options.unusable(environment));
    let endpoints = Endpoints::read(&table, environment, problems, &mut missing);
    missing.extend(endpoints.urls().filter_map(|url| options.unreachable(&Url::parse(url).ok()?, environment)));
    let credentials = credentials::Settings::read(&table, environment, endpoints.target(), problems, &mut missing);
    Box::new(Aws { credentials, endpoints, options, missing })
}

/// The client's options. AWS_CA_BUNDLE replaces the roots, as in AWS's own tools.
pub fn options(tables: &[&Table], environment: &dyn Environment, problems: &mut Problems) -> Options {
    let bundle = environment.variable("AWS_CA_BUNDLE").map(|path| CaSource::File(path.into()));
    Options::read_with_ca(tables, bundle, problems)
}

/// The variables for endpoints and credentials. If one of them were ignored, requests would go to another server, or have another
/// identity.
const VARIABLES: &[&str] = &[
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_STS",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// The variables that are not UTF-8, which would count as unset.
fn unreadable(environment: &dyn Environment) -> Vec<Complaint> {
    let unreadable = VARIABLES.iter().filter(|name| environment.is_unreadable(name));
    unreadable
        .map(|name| Complaint::new(format!("`{name}` is not UTF-8")).hint("set it to text, or unset it"))
        .collect()
}

impl Configured for Aws {
    fn missing(&self) -> Vec<Complaint> {
        self.missing.clone()
    }

    fn check(&self, locator: &Locator) -> Result<(), Complaint> {
        locator::parse(locator).map(|_| ())
    }

    fn sockets(&self) -> Sockets {
        Sockets::INTERNET
    }

    fn warning(&self) -> Option<String> {
        self.endpoints.has_unencrypted().then(|| {
            "`danger_plaintext`: an endpoint is asked in clear text, and whoever is on the way reads every secret"
                .into()
        })
    }

    fn is_list(&self, locator: &Locator) -> bool {
        locator::is_list(locator)
    }

    fn policy(&self, locators: &[&Locator]) -> Option<String> {
        Some(policy::json(self.credentials.region.as_deref(), locators, |_| policy::Details::default()))
    }

    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError> {
        let client = Arc::new(Client::new(self.options, &context)?);
        let region = self.credentials.region.clone();
        let credentials = Credentials::new(self.credentials, self.endpoints.clone(), context.clone(), client.clone());
        Ok(Rc::new(Store::new(Session::new(credentials, self.endpoints, &context, client), region)))
    }
}
