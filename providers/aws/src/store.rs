//! Turns locators into calls, alone or in batches.

use std::cell::RefCell;
use std::collections::BTreeMap;

use handfast_core::{BoxFuture, Complaint, ErrorKind, Fetched, Locator, Provider, ProviderError, Summary};

use crate::locator::{self, Identifiers, Item, Parameter, Secret};
use crate::parameters::{self, Parameters};
use crate::policy::{self, Details};
use crate::secrets::{self, Secrets};
use crate::session::Session;

/// A connection to AWS.
pub struct Store {
    session: Session,
    secrets: Secrets,
    parameters: Parameters,
    /// The region, if it is known without a request.
    region: Option<String>,
    /// The results of the surveys.
    all_details: RefCell<BTreeMap<Locator, Details>>,
}

/// The locators of one batch have the same store, and the same region in their ARN or in the configuration.
type Group = (&'static str, Option<String>);

/// A batch that is not full yet.
type Batch<'a> = Vec<(&'a Locator, Identifiers)>;

impl Store {
    /// A connection that has sent no request yet.
    pub fn new(session: Session, region: Option<String>) -> Self {
        let (secrets, parameters) = (Secrets::default(), Parameters::default());
        Self { session, secrets, parameters, region, all_details: RefCell::default() }
    }

    async fn region(&self, own: &Option<String>) -> Result<String, ProviderError> {
        match own {
            Some(region) => Ok(region.clone()),
            None => self.session.credentials.region().await,
        }
    }

    /// The group of a locator's batches, their largest size, and its identifiers in the response.
    fn group(&self, locator: &Locator) -> Option<(Group, usize, Identifiers)> {
        let region = |own: Option<String>| own.or_else(|| self.region.clone());
        match locator::parse(locator).ok()? {
            Item::Secret(secret) if secret.is_current() => {
                let identifiers = secret.identifiers();
                Some((("sm", region(secret.region)), secrets::BATCH, identifiers))
            }
            Item::Parameter(parameter) => {
                let identifiers = parameter.identifiers();
                Some((("ssm", region(parameter.region)), parameters::BATCH, identifiers))
            }
            Item::Secret(_) | Item::Below(_) => None,
        }
    }
}

impl Provider for Store {
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>> {
        Box::pin(async move {
            match locator::parse(locator).map_err(unchecked)? {
                Item::Secret(secret) => {
                    self.secrets.one(&self.session, &secret, &self.region(&secret.region).await?).await
                }
                Item::Parameter(parameter) => {
                    self.parameters.one(&self.session, &parameter, &self.region(&parameter.region).await?).await
                }
                Item::Below(path) => self.parameters.below(&self.session, &path, &self.region(&None).await?).await,
            }
        })
    }

    fn batches<'a>(&self, locators: &[&'a Locator]) -> Vec<Vec<&'a Locator>> {
        let mut groups: BTreeMap<Group, Vec<Batch<'a>>> = BTreeMap::new();
        for &locator in locators {
            let Some((group, most, identifiers)) = self.group(locator) else { continue };
            let batches = groups.entry(group).or_default();
            let fits = |batch: &&mut Batch<'_>| {
                batch.len() < most && !batch.iter().any(|(_, other)| other.clash(&identifiers))
            };
            match batches.iter_mut().find(fits) {
                Some(batch) => batch.push((locator, identifiers)),
                None => batches.push(vec![(locator, identifiers)]),
            }
        }
        let locators = |batch: Batch<'a>| batch.into_iter().map(|(locator, _)| locator).collect();
        groups.into_values().flatten().map(locators).collect()
    }

    fn fetch_batch<'a>(
        &'a self,
        locators: &'a [&'a Locator],
    ) -> BoxFuture<'a, Vec<Option<Result<Fetched, ProviderError>>>> {
        Box::pin(async move {
            let (mut secrets, mut parameters) = (Vec::new(), Vec::new());
            for locator in locators {
                match locator::parse(locator) {
                    Ok(Item::Secret(secret)) => secrets.push(secret),
                    Ok(Item::Parameter(parameter)) => parameters.push(parameter),
                    _ => {}
                }
            }
            // All locators of a batch have the same store and region.
            let own = secrets.first().map(|secret| &secret.region);
            let own = own.or_else(|| parameters.first().map(|parameter| &parameter.region));
            let region = match self.region(own.unwrap_or(&None)).await {
                Ok(region) => region,
                Err(error) => return locators.iter().map(|_| Some(Err(error.once_more()))).collect(),
            };
            match parameters.is_empty() {
                true => {
                    let secrets: Vec<&Secret> = secrets.iter().collect();
                    self.secrets.several(&self.session, &secrets, &region).await
                }
                false => {
                    let parameters: Vec<&Parameter> = parameters.iter().collect();
                    self.parameters.several(&self.session, &parameters, &region).await
                }
            }
        })
    }

    fn survey<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let mut details = match locator::parse(locator).map_err(unchecked)? {
                Item::Secret(secret) => {
                    secrets::details(&self.session, &secret, &self.region(&secret.region).await?).await?
                }
                Item::Parameter(_) | Item::Below(_) => Details::default(),
            };
            if details.account.is_none() {
                details.account = Some(self.session.credentials.account().await?);
            }
            self.all_details.borrow_mut().insert(locator.clone(), details);
            Ok(())
        })
    }

    fn policy(&self, locators: &[&Locator]) -> Option<String> {
        let all_details = self.all_details.borrow();
        let details = |locator: &Locator| all_details.get(locator).copied().unwrap_or_default();
        Some(policy::json(self.region.as_deref(), locators, details))
    }

    fn summary(&self) -> Summary {
        Summary { requests: self.session.requests(), expiry: None, identity: self.session.credentials.source() }
    }
}

/// The error for an invalid locator, which [`check`](handfast_core::Configured::check) normally refuses before.
fn unchecked(complaint: Complaint) -> ProviderError {
    complaint.into_error(ErrorKind::Malformed)
}
