//! Parameter Store: up to ten parameters in one request, or all parameters below a path, page by page.

use std::cell::Cell;
use std::collections::BTreeSet;

use aws_sdk_ssm::types::Parameter as SdkParameter;
use handfast_core::{Entry, ErrorKind, Fetched, Found, ProviderError, SecretValue, excerpt};

use crate::endpoints::partition;
use crate::explain::Attempt;
use crate::locator::{Parameter, REFERENCE};
use crate::refusal::{About, Failed};
use crate::session::Session;

/// The most parameters of GetParameters.
pub const BATCH: usize = 10;

/// The most parameters in a list: a start cannot fetch more.
const LONGEST_LIST: usize = 4096;

/// The known permissions in Parameter Store.
#[derive(Default)]
pub struct Parameters {
    /// Whether this identity may use only GetParameter, and not GetParameters.
    only_single: Cell<bool>,
}

type Answer = Result<Fetched, ProviderError>;

impl Parameters {
    /// Fetches one parameter with `GetParameters`, so that a policy needs only this action. If that is denied, tries
    /// `GetParameter`.
    pub async fn one(&self, session: &Session, parameter: &Parameter, region: &str) -> Answer {
        let attempt = attempt(parameter, region);
        if self.only_single.get() {
            return single(session, parameter, region).await.unwrap_or_else(|failed| Err(attempt.explain(&failed)));
        }
        match self.request(session, &[parameter], region).await {
            Ok(mut answers) => match answers.pop().flatten() {
                Some(answer) => answer,
                None => Err(attempt.failure(ErrorKind::Malformed, "AWS' answer has another parameter")),
            },
            Err(Failed::Refused(refusal)) if refusal.about() == About::Permission => {
                match single(session, parameter, region).await {
                    Ok(answer) => {
                        self.only_single.set(true);
                        answer
                    }
                    // The first refusal is reported.
                    Err(_) => Err(attempt.explain(&Failed::Refused(refusal))),
                }
            }
            Err(failed) => Err(attempt.explain(&failed)),
        }
    }

    /// Fetches several parameters: an answer for each, `None` if it must be fetched by itself.
    pub async fn several(&self, session: &Session, parameters: &[&Parameter], region: &str) -> Vec<Option<Answer>> {
        let alone = || parameters.iter().map(|_| None).collect();
        if self.only_single.get() {
            return alone();
        }
        match self.request(session, parameters, region).await {
            Ok(answers) => answers,
            // AWS refuses the whole request for one forbidden parameter. Fetched by itself, each has its own error.
            Err(Failed::Refused(refusal)) if matches!(refusal.about(), About::Permission | About::Request) => alone(),
            Err(failed) => {
                parameters.iter().map(|parameter| Some(Err(attempt(parameter, region).explain(&failed)))).collect()
            }
        }
    }

    async fn request(
        &self,
        session: &Session,
        parameters: &[&Parameter],
        region: &str,
    ) -> Result<Vec<Option<Answer>>, Failed> {
        let answer = session
            .call(region, |clients| async move {
                let names = parameters.iter().map(|parameter| parameter.request_name()).collect();
                clients.parameters().get_parameters().set_names(Some(names)).with_decryption(true).send().await
            })
            .await?;
        let of = |parameter: &&Parameter| {
            let attempt = attempt(parameter, region);
            let found = answer.parameters().iter().find(|found| match parameters {
                // The only parameter of the request matches, whatever name the response has.
                [_] => true,
                _ => parameter.is(found.name(), found.arn()),
            });
            let invalid = || answer.invalid_parameters().iter().any(|name| *name == parameter.request_name());
            match found {
                Some(found) => Some(value(found, &attempt).map(Fetched::from)),
                None if invalid() || parameters.len() == 1 => Some(Err(not_found(parameter, &attempt))),
                None => None,
            }
        };
        Ok(parameters.iter().map(of).collect())
    }

    /// Fetches all parameters below a path. Each has the rest of its path as name.
    pub async fn below(&self, session: &Session, path: &str, region: &str) -> Answer {
        let attempt = Attempt {
            what: format!("cannot list the parameters below `{path}`"),
            action: "ssm:GetParametersByPath",
            resource: resource(path, region),
            region,
            restore: None,
        };
        let mut entries = Vec::new();
        let mut names = BTreeSet::new();
        let mut next = None;
        loop {
            let page = &next;
            let answer = session
                .call(region, |clients| async move {
                    let request = clients.parameters().get_parameters_by_path().path(path).recursive(true);
                    request.with_decryption(true).max_results(10).set_next_token(page.clone()).send().await
                })
                .await
                .map_err(|failed| attempt.explain(&failed))?;
            for found in answer.parameters() {
                let name = file_name(found.name().unwrap_or_default(), path);
                if name.is_empty() || !names.insert(name.clone()) {
                    let why = format!(
                        "two of its parameters would have the file `{}`: `/` becomes `.` in their names",
                        excerpt(&name)
                    );
                    return Err(attempt.failure(ErrorKind::Malformed, &why).hint("name each parameter by itself"));
                }
                entries.push(Entry { name, found: value(found, &attempt).map_or_else(Found::Nothing, Found::Value) });
            }
            if entries.len() > LONGEST_LIST {
                let why = format!("there are more than {LONGEST_LIST} parameters below it");
                return Err(attempt.failure(ErrorKind::Malformed, &why));
            }
            if answer.next_token.is_some() && answer.next_token == next {
                return Err(attempt.failure(ErrorKind::Malformed, "AWS gives the same page again and again"));
            }
            next = answer.next_token;
            if next.is_none() {
                break;
            }
        }
        match entries.is_empty() {
            true => Err(attempt.not_found("there is no parameter below it")),
            false => Ok(Fetched::from(entries)),
        }
    }
}

/// Fetches one parameter with GetParameter. The inner result is about the parameter, the outer error about the permission.
async fn single(session: &Session, parameter: &Parameter, region: &str) -> Result<Answer, Failed> {
    let attempt = attempt(parameter, region);
    let answer = session
        .call(region, |clients| async move {
            clients.parameters().get_parameter().name(parameter.request_name()).with_decryption(true).send().await
        })
        .await;
    match answer {
        Ok(answer) => Ok(match &answer.parameter {
            Some(found) => value(found, &attempt).map(Fetched::from),
            None => Err(attempt.failure(ErrorKind::Malformed, "AWS' answer has no parameter")),
        }),
        // If AWS says that it does not exist, this identity has the permission.
        Err(Failed::Refused(refusal)) if refusal.about() == About::Request => {
            Ok(Err(attempt.explain(&Failed::Refused(refusal))))
        }
        Err(failed) => Err(failed),
    }
}

fn value(found: &SdkParameter, attempt: &Attempt<'_>) -> Result<SecretValue, ProviderError> {
    match &found.value {
        Some(value) => Ok(SecretValue::from(value.as_bytes().to_vec())),
        None => Err(attempt.failure(ErrorKind::Malformed, "AWS' answer has no value")),
    }
}

/// The failure for a missing parameter. The response of GetParameters does not say whether the parameter or its version is
/// missing.
fn not_found(parameter: &Parameter, attempt: &Attempt<'_>) -> ProviderError {
    match parameter.selector {
        Some(_) => attempt.not_found("there is no such parameter, or it has no such version"),
        None => attempt.not_found("there is no such parameter"),
    }
}

/// The file name for a parameter below a path.
fn file_name(name: &str, path: &str) -> String {
    let rest = name.strip_prefix(path).unwrap_or(name);
    rest.trim_start_matches('/').replace('/', ".")
}

fn attempt<'a>(parameter: &Parameter, region: &'a str) -> Attempt<'a> {
    let (action, resource) = match parameter.name.strip_prefix(REFERENCE) {
        // Both permissions are needed. A missing permission for the secret is the more frequent cause.
        Some(secret) => (
            "secretsmanager:GetSecretValue",
            format!("arn:{}:secretsmanager:{region}:*:secret:{secret}-??????", partition(region).name),
        ),
        None => ("ssm:GetParameters", resource(&parameter.name, region)),
    };
    Attempt {
        what: format!("cannot read the parameter `{}`", parameter.request_name()),
        action,
        resource,
        region,
        restore: None,
    }
}

/// A parameter's ARN in a policy.
pub fn resource(name: &str, region: &str) -> String {
    match name.starts_with("arn:") {
        true => name.to_owned(),
        false => {
            format!("arn:{}:ssm:{region}:*:parameter/{}", partition(region).name, name.trim_start_matches('/'))
        }
    }
}
