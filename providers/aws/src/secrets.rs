//! Secrets Manager: one secret, or up to twenty in one request.

use std::cell::Cell;

use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;
use aws_smithy_types::Blob;
use handfast_core::{ErrorKind, Fetched, ProviderError, SecretValue};

use crate::endpoints::partition;
use crate::explain::Attempt;
use crate::locator::{Arn, Secret, without_suffix};
use crate::policy::Details;
use crate::refusal::{About, Failed, Refusal};
use crate::session::Session;

/// The most secrets of BatchGetSecretValue.
pub const BATCH: usize = 20;

/// The known permissions in Secrets Manager.
#[derive(Default)]
pub struct Secrets {
    /// Whether this identity may not fetch several secrets in one request.
    no_batches: Cell<bool>,
}

impl Secrets {
    /// Fetches one secret.
    pub async fn one(&self, session: &Session, secret: &Secret, region: &str) -> Result<Fetched, ProviderError> {
        let attempt = attempt(secret, region);
        let answer = session
            .call(region, |clients| async move {
                clients
                    .secrets()
                    .get_secret_value()
                    .secret_id(&secret.id)
                    .set_version_id(secret.version.clone())
                    .set_version_stage(secret.stage.clone())
                    .send()
                    .await
            })
            .await
            .map_err(|failed| attempt.explain(&failed))?;
        value(answer.secret_string, answer.secret_binary, &attempt)
    }

    /// Fetches several secrets: an answer for each, `None` if it must be fetched by itself.
    pub async fn several(&self, session: &Session, secrets: &[&Secret], region: &str) -> Vec<Option<Answer>> {
        let mut answers: Vec<Option<Answer>> = secrets.iter().map(|_| None).collect();
        if self.no_batches.get() {
            return answers;
        }
        let mut next = None;
        loop {
            let page = &next;
            let call = session.call(region, |clients| async move {
                let ids = secrets.iter().map(|secret| secret.id.clone()).collect();
                let request = clients.secrets().batch_get_secret_value().set_secret_id_list(Some(ids));
                request.set_next_token(page.clone()).send().await
            });
            let answer = match call.await {
                Ok(answer) => answer,
                Err(failed) => {
                    if let Failed::Refused(refusal) = &failed {
                        match refusal.about() {
                            // AWS allows far more single requests than batches in a second.
                            About::Temporary if refusal.is_throttling() => return answers,
                            // Fetched by itself, each secret has its own error.
                            About::Permission | About::Request => {
                                self.no_batches.set(self.no_batches.get() || refusal.about() == About::Permission);
                                return answers;
                            }
                            _ => {}
                        }
                    }
                    for (secret, answer) in secrets.iter().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
                        *answer = Some(Err(attempt(secret, region).explain(&failed)));
                    }
                    return answers;
                }
            };
            add_page(&answer, secrets, region, &mut answers);
            // A page without new secrets ends the loop, which could be endless otherwise.
            let done = answer.secret_values().is_empty() || answers.iter().all(Option::is_some);
            next = answer.next_token.filter(|_| !done);
            if next.is_none() {
                return answers;
            }
        }
    }
}

/// The details of a secret in Secrets Manager, as far as this identity may read them.
pub async fn details(session: &Session, secret: &Secret, region: &str) -> Result<Details, ProviderError> {
    let attempt = Attempt { action: "secretsmanager:DescribeSecret", ..attempt(secret, region) };
    let described = session
        .call(region, |clients| async move { clients.secrets().describe_secret().secret_id(&secret.id).send().await });
    let answer = match described.await {
        Ok(answer) => answer,
        // The policy may be for another identity, and for a secret that does not exist yet.
        Err(Failed::Refused(refusal)) if matches!(refusal.about(), About::Permission | About::Request) => {
            return Ok(Details::default());
        }
        Err(failed) => return Err(attempt.explain(&failed)),
    };
    let arn = answer.arn().unwrap_or_default();
    let suffix = arn.rsplit_once('-').and_then(|(_, suffix)| suffix.as_bytes().try_into().ok());
    let is_default = |key: &str| key.ends_with("alias/aws/secretsmanager");
    Ok(Details {
        account: Arn::parse(arn).and_then(|arn| arn.account.parse().ok()),
        suffix,
        is_default_key: answer.kms_key_id().is_none_or(is_default),
    })
}

type Answer = Result<Fetched, ProviderError>;

/// Adds the values and errors on a page to the answers.
fn add_page(page: &BatchGetSecretValueOutput, secrets: &[&Secret], region: &str, answers: &mut [Option<Answer>]) {
    for (secret, answer) in secrets.iter().zip(answers) {
        let attempt = attempt(secret, region);
        let found = page.secret_values().iter().find(|entry| secret.is(entry.name(), entry.arn()));
        let refused = || page.errors().iter().find(|error| secret.is(error.secret_id(), error.secret_id()));
        if let Some(entry) = found {
            *answer = Some(value(entry.secret_string.clone(), entry.secret_binary.clone(), &attempt));
        } else if let Some(error) = refused() {
            let refusal = Refusal::of_item(error.error_code(), error.message());
            *answer = Some(Err(attempt.explain(&Failed::Refused(refusal))));
        }
    }
}

fn value(text: Option<String>, bytes: Option<Blob>, attempt: &Attempt<'_>) -> Answer {
    let value = text.map(String::into_bytes).or_else(|| bytes.map(Blob::into_inner));
    match value {
        Some(value) => Ok(Fetched::from(SecretValue::from(value))),
        None => Err(attempt.failure(ErrorKind::Malformed, "AWS' answer has no value")),
    }
}

fn attempt<'a>(secret: &Secret, region: &'a str) -> Attempt<'a> {
    Attempt {
        what: format!("cannot read the secret `{}`", secret.id),
        action: "secretsmanager:GetSecretValue",
        resource: resource(secret, region),
        region,
        restore: Some(format!("aws secretsmanager restore-secret --secret-id {}", secret.id)),
    }
}

/// A secret's ARN in a policy. AWS adds a hyphen and six characters to the end of each name.
pub fn resource(secret: &Secret, region: &str) -> String {
    match Arn::parse(&secret.id) {
        Some(_) if without_suffix(&secret.id).is_some() => secret.id.clone(),
        Some(_) => format!("{}-??????", secret.id),
        None => format!("arn:{}:secretsmanager:{region}:*:secret:{}-??????", partition(region).name, secret.id),
    }
}
