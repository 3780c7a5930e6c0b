//! The keys in the environment (docs.aws.amazon.com/sdkref/latest/guide/feature-static-credentials.html).

use handfast_core::{ProviderError, SecretValue};

use super::keys::{Found, Keys};
use super::resources::{Resources, denied};

pub fn find(resources: &Resources) -> Result<Found, ProviderError> {
    let value = |name: &str| {
        let value = resources.context.environment.credential(name)?;
        Some(SecretValue::from(value.expose().trim_ascii().to_vec()))
    };
    let (id, secret) = match (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => (id, secret),
        (None, None) if value("AWS_SESSION_TOKEN").is_some() => {
            return Ok(Found::Incomplete("`AWS_SESSION_TOKEN` is set and `AWS_ACCESS_KEY_ID` is not".into()));
        }
        (None, None) => return Ok(Found::NotSetUp("`AWS_ACCESS_KEY_ID` is not set".into())),
        (id, _) => {
            let (is, lacks) = match id {
                Some(_) => ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
                None => ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
            };
            return Err(denied(format!("no AWS credentials: `{is}` is set and `{lacks}` is not"))
                .hint("set both, or neither for another way to credentials"));
        }
    };
    let id = std::str::from_utf8(id.expose())
        .map_err(|_| denied("no AWS credentials: `AWS_ACCESS_KEY_ID` is not text"))?
        .to_owned();
    Ok(Found::Keys(Keys { id, secret, session_token: value("AWS_SESSION_TOKEN"), expires: None }))
}
