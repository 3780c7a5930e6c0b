//! Where AWS is and who we are to it: `[providers.aws]`, else what AWS' own tools read from the environment
//! (docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html).

use std::rc::Rc;
use std::sync::Arc;

use handfast_core::{Configured, Context, Locator, Problems, Provider, ProviderError, Settings};
use handfast_http::{CaSource, Client, Options, Roots};

use crate::credentials::{self, Credentials};
use crate::endpoints::Endpoints;
use crate::locator;
use crate::policy;
use crate::session::Session;
use crate::store::Store;

/// An instance that knows its settings.
struct Aws {
    credentials: credentials::Settings,
    endpoints: Endpoints,
    options: Options,
    missing: Vec<(String, String)>,
}

/// Reads the settings.
pub fn configure(settings: Settings<'_>, problems: &mut Problems) -> Box<dyn Configured> {
    let Settings { table, fetch, environment, .. } = settings;
    let mut missing = Vec::new();
    let mut options = Options::read(&[fetch, &table], problems);
    // It replaces the roots, as AWS' own tools have it.
    if let Some(path) = environment.variable("AWS_CA_BUNDLE")
        && table.item("ca_file").is_none()
        && table.item("roots").is_none()
    {
        options.roots = Roots::None;
        options.ca = vec![CaSource::File(path.into())];
    }
    let endpoints = Endpoints::read(&table, environment, problems, &mut missing);
    Box::new(Aws {
        credentials: credentials::Settings::read(&table, environment, problems),
        endpoints,
        options,
        missing,
    })
}

impl Configured for Aws {
    fn missing(&self) -> Vec<(String, String)> {
        self.missing.clone()
    }

    fn check(&self, locator: &Locator) -> Result<(), (String, String)> {
        locator::parse(locator).map(|_| ())
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn is_list(&self, locator: &Locator) -> bool {
        locator::is_list(locator)
    }

    fn policy(&self, wanted: &[(&Locator, u128)]) -> Option<String> {
        Some(policy::json(self.credentials.region.as_deref(), wanted))
    }

    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError> {
        let client = Arc::new(Client::new(self.options, &context)?);
        let region = self.credentials.region.clone();
        let credentials = Credentials::new(self.credentials, self.endpoints.clone(), context.clone(), client.clone());
        Ok(Rc::new(Store::new(Session::new(credentials, self.endpoints, &context, client), region)))
    }
}
