//! The metadata service of EC2 machines. Only version 2 is used: version 1 responds to any request, also to one that an attacker
//! makes a program on this machine send (docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html).

use std::time::Duration;

use handfast_core::{ErrorKind, ProviderError, SecretValue, excerpt};
use handfast_http::metadata::{self, TimeLimits};
use handfast_http::{Address, Client, Method, Plaintext, Request, Response, Url};

use super::issued;
use super::keys::Found;
use super::resources::{Resources, denied};
use super::settings::Way;

const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const ATTEMPTED: &str = "cannot get this machine's AWS credentials";

/// AWS's variables for the time limit of a request, in seconds, and for the number of attempts of the first request.
const TIMEOUT: &str = "AWS_METADATA_SERVICE_TIMEOUT";
const ATTEMPTS: &str = "AWS_METADATA_SERVICE_NUM_ATTEMPTS";

/// The largest value of both. A larger value counts as this.
const MOST: u64 = 60;

/// Outside EC2, a connection may get no response, so a start without credentials waits for this time. A service that accepts the
/// connection exists, and gets more time to respond.
const LIMITS: TimeLimits = TimeLimits { connect: Duration::from_secs(1), total: Duration::from_millis(1800) };

/// The metadata service, with the token that all its requests need.
struct Imds<'o> {
    resources: &'o Resources,
    client: Client,
    origin: String,
    token: SecretValue,
}

pub async fn find(resources: &Resources) -> Result<Found, ProviderError> {
    let service = match Imds::connect(resources).await? {
        Ok(service) => service,
        Err(passed) => return Ok(Found::NotSetUp(passed)),
    };
    let response = service.get(ROLES).await?;
    if response.status() == 404 {
        return Ok(Found::NotSetUp(format!("{} has no role for this machine", response.peer())));
    }
    let role = text(&response, ATTEMPTED)?;
    let response = service.get(&format!("{ROLES}{}", role.lines().next().unwrap_or_default())).await?;
    match response.is_success() {
        true => issued::keys(&response, ATTEMPTED).map(Found::Keys),
        false => Err(metadata::refusal(&response, ATTEMPTED)),
    }
}

/// The machine's region, or why there is none.
pub async fn region(resources: &Resources) -> Result<Result<String, String>, ProviderError> {
    let service = match Imds::connect(resources).await? {
        Ok(service) => service,
        Err(passed) => return Ok(Err(passed)),
    };
    let attempted = "cannot ask for this machine's region";
    text(&service.get("/latest/meta-data/placement/region").await?, attempted).map(Ok)
}

impl<'o> Imds<'o> {
    /// Requests a token from the service. The inner error says why there is no service.
    async fn connect(resources: &'o Resources) -> Result<Result<Self, String>, ProviderError> {
        if resources.variable(DISABLED).is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(Err(format!("`{DISABLED}` is true")));
        }
        let origin = origin(resources)?;
        let limits = number(resources, TIMEOUT)?.map_or(LIMITS, |seconds| TimeLimits::of(Duration::from_secs(seconds)));
        let client = metadata::client(limits, Plaintext::Metadata, &resources.context)?;
        let mut attempts = number(resources, ATTEMPTS)?.unwrap_or(1);
        let response = loop {
            let request = Request::new(Method::PUT, url(&origin, "/latest/api/token")?)
                .header("x-aws-ec2-metadata-token-ttl-seconds", "300")?;
            match resources.send(&client, request).await {
                Ok(response) => break response,
                Err(_) if attempts > 1 => attempts -= 1,
                // Another program may be at this address, so the failure does not stop the search for credentials.
                Err(error) => {
                    let why = format!(
                        "{} (a container on EC2 is answered where the machine's hop limit is 2 or more)",
                        error.message
                    );
                    // If this is the only allowed way, the failure counts as temporary.
                    return match resources.way.get() {
                        Some(Way::Machine) => Err(ProviderError { message: format!("{ATTEMPTED}: {why}"), ..error }),
                        _ => Ok(Err(why)),
                    };
                }
            }
        };
        match response.status() {
            // The service exists, and is busy. Another way could have another identity.
            408 | 429 | 500.. => Err(metadata::refusal(&response, ATTEMPTED)),
            200 => {
                let token = response.into_body();
                Ok(Ok(Self { resources, client, origin, token }))
            }
            403 => Ok(Err(format!("the metadata service of {origin} is switched off"))),
            status => Ok(Err(format!("{origin} is no metadata service of version 2: it answered {status}"))),
        }
    }

    async fn get(&self, path: &str) -> Result<Response, ProviderError> {
        let token = SecretValue::from(self.token.expose().trim_ascii().to_vec());
        let request = Request::get(url(&self.origin, path)?).secret_header("x-aws-ec2-metadata-token", token)?;
        self.resources.send(&self.client, request).await.map_err(|error| error.context(ATTEMPTED))
    }
}

fn origin(resources: &Resources) -> Result<String, ProviderError> {
    if let Some(endpoint) = resources.variable(ENDPOINT) {
        let url = url(endpoint, "")?;
        Address::parse(url.as_str(), Plaintext::Metadata).map_err(|complaint| {
            denied(format!("{ATTEMPTED}: `{ENDPOINT}`: {}", complaint.message))
                .hint("unset it, or set it to an address on this machine's link")
        })?;
        return Ok(endpoint.trim_end_matches('/').to_owned());
    }
    match resources.variable(MODE).map(str::to_ascii_lowercase).as_deref() {
        None | Some("ipv4") => Ok("http://169.254.169.254".to_owned()),
        Some("ipv6") => Ok("http://[fd00:ec2::254]".to_owned()),
        Some(other) => {
            let message = format!("{ATTEMPTED}: `{MODE}` is \"{}\", expected \"IPv4\" or \"IPv6\"", excerpt(other));
            Err(denied(message))
        }
    }
}

/// Reads a variable with a number of at least 1.
fn number(resources: &Resources, name: &str) -> Result<Option<u64>, ProviderError> {
    let Some(text) = resources.variable(name) else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(number @ 1..) => Ok(Some(number.min(MOST))),
        _ => Err(denied(format!("{ATTEMPTED}: `{name}` is \"{}\", expected a number from 1 on", excerpt(text)))),
    }
}

fn url(origin: &str, path: &str) -> Result<Url, ProviderError> {
    Url::parse(&format!("{origin}{path}")).map_err(|_| denied(format!("{ATTEMPTED}: `{ENDPOINT}` is no URL")))
}

/// Reads a response that is a name, in visible characters.
fn text(response: &Response, attempted: &str) -> Result<String, ProviderError> {
    if !response.is_success() {
        return Err(metadata::refusal(response, attempted));
    }
    let text = std::str::from_utf8(response.body().expose().trim_ascii()).unwrap_or_default();
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b'\n');
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => {
            let message = format!("{attempted}: the answer of {} is no name", response.peer());
            Err(ProviderError::new(ErrorKind::Malformed, message))
        }
    }
}
