//! What ECS and EKS Pod Identity give a container (docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).

use std::net::IpAddr;
use std::time::Duration;

use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::metadata::{self, TimeLimits};
use handfast_http::{Plaintext, Request, Url};

use super::issued;
use super::keys::Found;
use super::outside::{Outside, denied, token_file};

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// Where ECS' agent is, of which the relative URI is the path.
const ECS: &str = "http://169.254.170.2";
/// The addresses that are spoken to in clear text, besides loopback: ECS' agent, and EKS' in both kinds of address.
const CLEAR: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

const ATTEMPTED: &str = "cannot get the container's AWS credentials";

pub async fn find(outside: &Outside) -> Result<Found, ProviderError> {
    let url = match (outside.variable(RELATIVE), outside.variable(FULL)) {
        (Some(path), _) => url(RELATIVE, &format!("{ECS}{}{path}", if path.starts_with('/') { "" } else { "/" }))?,
        (None, Some(full)) => url(FULL, full)?,
        (None, None) => {
            let neither = format!("neither `{RELATIVE}` nor `{FULL}` is set");
            let has_token = match () {
                () if outside.variable(TOKEN_FILE).is_some() => Some(TOKEN_FILE),
                () => outside.context.environment.credential(TOKEN).map(|_| TOKEN),
            };
            return Ok(match has_token {
                Some(token) => Found::Half(format!("`{token}` is set, and {neither}")),
                None => Found::Passed(neither),
            });
        }
    };
    let mut request = Request::get(url.clone());
    if let Some(token) = token(outside)? {
        request = request.secret_header("authorization", token).map_err(|error| error.context(ATTEMPTED))?;
    }
    let answer = match url.scheme() {
        "https" => outside.send(&outside.client, request).await,
        _ => {
            // An agent on the same machine: where there is none, nobody refuses the connection.
            let patience = TimeLimits { connect: Duration::from_secs(1), total: Duration::from_secs(5) };
            outside.send(&metadata::client(patience, Plaintext::Metadata, &outside.context)?, request).await
        }
    };
    let response = answer.map_err(|error| error.context(ATTEMPTED))?;
    if !response.is_success() {
        let error = metadata::refusal(&response, ATTEMPTED);
        return Err(match error.kind {
            ErrorKind::Unavailable => error,
            _ => error.hint("the task needs a role (ECS), the service account an association (EKS Pod Identity)"),
        });
    }
    issued::keys(&response, ATTEMPTED).map(Found::Keys)
}

/// The address, if it is one that AWS' SDKs would send the token to.
fn url(variable: &str, text: &str) -> Result<Url, ProviderError> {
    let refused = |why: &str| {
        denied(format!("{ATTEMPTED}: `{variable}` {why}"))
            .hint("ECS and EKS set it: an https:// address, loopback, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]")
    };
    let url = Url::parse(text).map_err(|_| refused("is no URL"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>().ok();
    let local = host == "localhost"
        || address
            .is_some_and(|address| address.is_loopback() || CLEAR.iter().any(|clear| clear.parse() == Ok(address)));
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        "http" => Err(refused("is in clear text and leaves this machine")),
        _ => Err(refused("is no https:// URL")),
    }
}

/// What the agent asks for; the file is read anew at each use, since its content changes.
fn token(outside: &Outside) -> Result<Option<SecretValue>, ProviderError> {
    if let Some(file) = outside.variable(TOKEN_FILE) {
        return token_file(file, &outside.context).map(Some).map_err(|error| error.context(ATTEMPTED));
    }
    let token = outside.context.environment.credential(TOKEN);
    let copy = |token: &SecretValue| SecretValue::from(token.expose().trim_ascii_end().to_vec());
    match token.map(copy) {
        Some(token) if token.expose().iter().any(u8::is_ascii_control) => {
            Err(ProviderError::new(ErrorKind::Denied, format!("{ATTEMPTED}: `{TOKEN}` has a line break in it")))
        }
        token => Ok(token),
    }
}
