//! The credentials that ECS and EKS Pod Identity provide to a container
//! (docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).

use std::net::IpAddr;
use std::time::Duration;

use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::metadata::{self, TimeLimits};
use handfast_http::{Plaintext, Request, Url};

use super::issued;
use super::keys::Found;
use super::resources::{Resources, denied, token_file};

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The origin of the agent of ECS, for the relative URI.
const ECS: &str = "http://169.254.170.2";
/// The addresses for which `http://` is allowed, in addition to loopback: the agent of ECS, and the IPv4 and IPv6 addresses of
/// EKS's agent.
const UNENCRYPTED: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

const ATTEMPTED: &str = "cannot get the container's AWS credentials";

pub async fn find(resources: &Resources) -> Result<Found, ProviderError> {
    let url = match (resources.variable(RELATIVE), resources.variable(FULL)) {
        (Some(path), _) => url(RELATIVE, &format!("{ECS}{}{path}", if path.starts_with('/') { "" } else { "/" }))?,
        (None, Some(full)) => url(FULL, full)?,
        (None, None) => {
            let why = format!("neither `{RELATIVE}` nor `{FULL}` is set");
            let has_token = match () {
                () if resources.variable(TOKEN_FILE).is_some() => Some(TOKEN_FILE),
                () => resources.context.environment.credential(TOKEN).map(|_| TOKEN),
            };
            return Ok(match has_token {
                Some(token) => Found::Incomplete(format!("`{token}` is set, and {why}")),
                None => Found::NotSetUp(why),
            });
        }
    };
    let mut request = Request::get(url.clone());
    if let Some(token) = token(resources)? {
        request = request.secret_header("authorization", token).map_err(|error| error.context(ATTEMPTED))?;
    }
    let result = match url.scheme() {
        "https" => resources.send(&resources.client, request).await,
        _ => {
            // An agent on the same machine. If there is none, a connection may get no response at all.
            let limits = TimeLimits { connect: Duration::from_secs(1), total: Duration::from_secs(5) };
            resources.send(&metadata::client(limits, Plaintext::Metadata, &resources.context)?, request).await
        }
    };
    let response = result.map_err(|error| error.context(ATTEMPTED))?;
    if !response.is_success() {
        let error = metadata::refusal(&response, ATTEMPTED);
        return Err(match error.kind {
            ErrorKind::Unavailable => error,
            _ => error.hint("the task needs a role (ECS), the service account an association (EKS Pod Identity)"),
        });
    }
    issued::keys(&response, ATTEMPTED).map(Found::Keys)
}

/// Parses the address. Refuses addresses that AWS's SDKs would not send the token to.
fn url(variable: &str, text: &str) -> Result<Url, ProviderError> {
    let refused = |why: &str| {
        denied(format!("{ATTEMPTED}: `{variable}` {why}"))
            .hint("ECS and EKS set it: an https:// address, loopback, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]")
    };
    let url = Url::parse(text).map_err(|_| refused("is no URL"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>().ok();
    let local = host == "localhost"
        || address.is_some_and(|address| {
            address.is_loopback() || UNENCRYPTED.iter().any(|allowed| allowed.parse() == Ok(address))
        });
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        "http" => Err(refused("is in clear text and leaves this machine")),
        _ => Err(refused("is no https:// URL")),
    }
}

/// The token for the agent. Its file is read again at each use, because its content changes.
fn token(resources: &Resources) -> Result<Option<SecretValue>, ProviderError> {
    if let Some(file) = resources.variable(TOKEN_FILE) {
        return token_file(file, &resources.context).map(Some).map_err(|error| error.context(ATTEMPTED));
    }
    let token = resources.context.environment.credential(TOKEN);
    let copy = |token: &SecretValue| SecretValue::from(token.expose().trim_ascii_end().to_vec());
    match token.map(copy) {
        Some(token) if token.expose().iter().any(u8::is_ascii_control) => {
            Err(ProviderError::new(ErrorKind::Denied, format!("{ATTEMPTED}: `{TOKEN}` has a line break in it")))
        }
        token => Ok(token),
    }
}
