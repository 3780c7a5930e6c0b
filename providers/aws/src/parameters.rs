//! Parameter Store: up to ten parameters in one request, or every one below a path, page by page.

use std::cell::Cell;
use std::collections::BTreeSet;

use aws_sdk_ssm::types::Parameter as Given;
use handfast_core::{Entry, ErrorKind, Fetched, Found, ProviderError, SecretValue, excerpt};

use crate::endpoints::partition;
use crate::explain::Attempt;
use crate::locator::{Parameter, REFERENCE};
use crate::refusal::{About, Failed};
use crate::session::Session;

/// As many as GetParameters takes.
pub const BATCH: usize = 10;

/// As many as a start takes.
const LONGEST_LIST: usize = 4096;

/// What has been learned of Parameter Store.
#[derive(Default)]
pub struct Parameters {
    /// Whether this identity may use GetParameter, and not GetParameters.
    only_single: Cell<bool>,
}

type Answer = Result<Fetched, ProviderError>;

impl Parameters {
    /// One parameter. `GetParameters` takes one as well, and a policy for a batch then does for this; who may use only
    /// `GetParameter` gets it by that.
    pub async fn one(&self, session: &Session, parameter: &Parameter, region: &str) -> Answer {
        let attempt = attempt(parameter, region);
        if self.only_single.get() {
            return single(session, parameter, region).await.unwrap_or_else(|failed| Err(attempt.explain(&failed)));
        }
        match self.ask(session, &[parameter], region).await {
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
                    // What it may not was said first.
                    Err(_) => Err(attempt.explain(&Failed::Refused(refusal))),
                }
            }
            Err(failed) => Err(attempt.explain(&failed)),
        }
    }

    /// Several: an answer for each, `None` where it has to be asked for by itself.
    pub async fn several(&self, session: &Session, parameters: &[&Parameter], region: &str) -> Vec<Option<Answer>> {
        let alone = || parameters.iter().map(|_| None).collect();
        if self.only_single.get() {
            return alone();
        }
        match self.ask(session, parameters, region).await {
            Ok(answers) => answers,
            // One that is refused has all refused: each by itself is told of its own.
            Err(Failed::Refused(refusal)) if matches!(refusal.about(), About::Permission | About::Request) => alone(),
            Err(failed) => {
                parameters.iter().map(|parameter| Some(Err(attempt(parameter, region).explain(&failed)))).collect()
            }
        }
    }

    async fn ask(
        &self,
        session: &Session,
        parameters: &[&Parameter],
        region: &str,
    ) -> Result<Vec<Option<Answer>>, Failed> {
        let answer = session
            .call(region, |clients| async move {
                let names = parameters.iter().map(|parameter| parameter.asked()).collect();
                clients.parameters().get_parameters().set_names(Some(names)).with_decryption(true).send().await
            })
            .await?;
        let of = |parameter: &&Parameter| {
            let attempt = attempt(parameter, region);
            let given = answer.parameters().iter().find(|given| match parameters {
                // The one that was asked for, by whatever name it comes.
                [_] => true,
                _ => parameter.is(given.name(), given.arn()),
            });
            let invalid = || answer.invalid_parameters().iter().any(|name| *name == parameter.asked());
            match given {
                Some(given) => Some(value(given, &attempt).map(Fetched::from)),
                None if invalid() || parameters.len() == 1 => Some(Err(absent(parameter, &attempt))),
                None => None,
            }
        };
        Ok(parameters.iter().map(of).collect())
    }

    /// Every parameter below a path, by the rest of its path.
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
            for given in answer.parameters() {
                let name = rest(given.name().unwrap_or_default(), path);
                if name.is_empty() || !names.insert(name.clone()) {
                    let why = format!(
                        "two of its parameters would have the file `{}`: `/` becomes `.` in their names",
                        excerpt(&name)
                    );
                    return Err(attempt.failure(ErrorKind::Malformed, &why).hint("name each parameter by itself"));
                }
                entries.push(Entry { name, found: value(given, &attempt).map_or_else(Found::Nothing, Found::Value) });
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
            true => Err(attempt.absent("there is no parameter below it")),
            false => Ok(Fetched::from(entries)),
        }
    }
}

/// GetParameter. What it says of the parameter is in the inner result.
async fn single(session: &Session, parameter: &Parameter, region: &str) -> Result<Answer, Failed> {
    let attempt = attempt(parameter, region);
    let answer = session
        .call(region, |clients| async move {
            clients.parameters().get_parameter().name(parameter.asked()).with_decryption(true).send().await
        })
        .await;
    match answer {
        Ok(answer) => Ok(match &answer.parameter {
            Some(given) => value(given, &attempt).map(Fetched::from),
            None => Err(attempt.failure(ErrorKind::Malformed, "AWS' answer has no parameter")),
        }),
        // That it is not there is an answer of one who may know.
        Err(Failed::Refused(refusal)) if refusal.about() == About::Request => {
            Ok(Err(attempt.explain(&Failed::Refused(refusal))))
        }
        Err(failed) => Err(failed),
    }
}

fn value(given: &Given, attempt: &Attempt<'_>) -> Result<SecretValue, ProviderError> {
    match &given.value {
        Some(value) => Ok(SecretValue::from(value.as_bytes().to_vec())),
        None => Err(attempt.failure(ErrorKind::Malformed, "AWS' answer has no value")),
    }
}

/// GetParameters does not tell what of it is missing.
fn absent(parameter: &Parameter, attempt: &Attempt<'_>) -> ProviderError {
    match parameter.selector {
        Some(_) => attempt.absent("there is no such parameter, or it has no such version"),
        None => attempt.absent("there is no such parameter"),
    }
}

/// A parameter's name below a path, as a file's.
fn rest(name: &str, path: &str) -> String {
    let rest = name.strip_prefix(path).unwrap_or(name);
    rest.trim_start_matches('/').replace('/', ".")
}

fn attempt<'a>(parameter: &Parameter, region: &'a str) -> Attempt<'a> {
    let (action, resource) = match parameter.name.strip_prefix(REFERENCE) {
        // It takes both permissions; that of the parameter is the usual one.
        Some(secret) => (
            "secretsmanager:GetSecretValue",
            format!("arn:{}:secretsmanager:{region}:*:secret:{secret}-??????", partition(region).name),
        ),
        None => ("ssm:GetParameters", resource(&parameter.name, region)),
    };
    Attempt {
        what: format!("cannot read the parameter `{}`", parameter.asked()),
        action,
        resource,
        region,
        restore: None,
    }
}

/// A parameter as a policy names it.
pub fn resource(name: &str, region: &str) -> String {
    match name.starts_with("arn:") {
        true => name.to_owned(),
        false => {
            format!("arn:{}:ssm:{region}:*:parameter/{}", partition(region).name, name.trim_start_matches('/'))
        }
    }
}
