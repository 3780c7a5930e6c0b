//! From locators to calls, alone or in batches.

use std::cell::RefCell;
use std::collections::BTreeMap;

use handfast_core::{BoxFuture, Complaint, ErrorKind, Fetched, Locator, Provider, ProviderError, Summary};

use crate::locator::{self, Marks, Parameter, Secret, Wanted};
use crate::parameters::{self, Parameters};
use crate::policy::{self, Place};
use crate::secrets::{self, Secrets};
use crate::session::Session;

/// A connection to AWS.
pub struct Store {
    session: Session,
    secrets: Secrets,
    parameters: Parameters,
    /// The region, as far as it is known without asking.
    region: Option<String>,
    /// The results of the surveys.
    places: RefCell<BTreeMap<Locator, Place>>,
}

/// What makes locators of one batch: the store, and the region, where an ARN or the configuration says it.
type Group = (&'static str, Option<String>);

/// A batch that is being filled.
type Batch<'a> = Vec<(&'a Locator, Marks)>;

impl Store {
    /// A connection that has asked nothing yet.
    pub fn new(session: Session, region: Option<String>) -> Self {
        let (secrets, parameters) = (Secrets::default(), Parameters::default());
        Self { session, secrets, parameters, region, places: RefCell::default() }
    }

    async fn region(&self, own: &Option<String>) -> Result<String, ProviderError> {
        match own {
            Some(region) => Ok(region.clone()),
            None => self.session.credentials.region().await,
        }
    }

    /// The batches that a locator could be part of, how many these take, and what its answer is told by.
    fn group(&self, locator: &Locator) -> Option<(Group, usize, Marks)> {
        let region = |own: Option<String>| own.or_else(|| self.region.clone());
        match locator::parse(locator).ok()? {
            Wanted::Secret(secret) if secret.is_current() => {
                let marks = secret.marks();
                Some((("sm", region(secret.region)), secrets::BATCH, marks))
            }
            Wanted::Parameter(parameter) => {
                let marks = parameter.marks();
                Some((("ssm", region(parameter.region)), parameters::BATCH, marks))
            }
            Wanted::Secret(_) | Wanted::Below(_) => None,
        }
    }
}

impl Provider for Store {
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>> {
        Box::pin(async move {
            match locator::parse(locator).map_err(unchecked)? {
                Wanted::Secret(secret) => {
                    self.secrets.one(&self.session, &secret, &self.region(&secret.region).await?).await
                }
                Wanted::Parameter(parameter) => {
                    self.parameters.one(&self.session, &parameter, &self.region(&parameter.region).await?).await
                }
                Wanted::Below(path) => self.parameters.below(&self.session, &path, &self.region(&None).await?).await,
            }
        })
    }

    fn batches<'a>(&self, locators: &[&'a Locator]) -> Vec<Vec<&'a Locator>> {
        let mut groups: BTreeMap<Group, Vec<Batch<'a>>> = BTreeMap::new();
        for &locator in locators {
            let Some((group, most, marks)) = self.group(locator) else { continue };
            let batches = groups.entry(group).or_default();
            let fits =
                |batch: &&mut Batch<'_>| batch.len() < most && !batch.iter().any(|(_, other)| other.clash(&marks));
            match batches.iter_mut().find(fits) {
                Some(batch) => batch.push((locator, marks)),
                None => batches.push(vec![(locator, marks)]),
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
                    Ok(Wanted::Secret(secret)) => secrets.push(secret),
                    Ok(Wanted::Parameter(parameter)) => parameters.push(parameter),
                    _ => {}
                }
            }
            // A batch is of one store and one region.
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
            let mut place = match locator::parse(locator).map_err(unchecked)? {
                Wanted::Secret(secret) => {
                    secrets::place(&self.session, &secret, &self.region(&secret.region).await?).await?
                }
                Wanted::Parameter(_) | Wanted::Below(_) => Place::default(),
            };
            if place.account.is_none() {
                place.account = Some(self.session.credentials.account().await?);
            }
            self.places.borrow_mut().insert(locator.clone(), place);
            Ok(())
        })
    }

    fn policy(&self, locators: &[&Locator]) -> Option<String> {
        let places = self.places.borrow();
        let place = |locator: &Locator| places.get(locator).copied().unwrap_or_default();
        Some(policy::json(self.region.as_deref(), locators, place))
    }

    fn summary(&self) -> Summary {
        Summary { requests: self.session.requests(), expiry: None, identity: self.session.credentials.taken() }
    }
}

/// A locator that [`check`](handfast_core::Configured::check) would have refused.
fn unchecked(complaint: Complaint) -> ProviderError {
    complaint.into_error(ErrorKind::Malformed)
}
