//! The metadata service of a machine of EC2, in its second version alone: the first answers whoever can make this machine send a
//! request (docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html).

use std::time::Duration;

use handfast_core::{ErrorKind, ProviderError, SecretValue, excerpt};
use handfast_http::metadata::{self, TimeLimits};
use handfast_http::{Address, Client, Method, Plaintext, Request, Response, Url};

use super::issued;
use super::keys::Found;
use super::outside::{Outside, denied};
use super::settings::Way;

const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const ATTEMPTED: &str = "cannot get this machine's AWS credentials";

/// AWS' variables for how long one request may take, in seconds, and for how often the first one is sent.
const TIMEOUT: &str = "AWS_METADATA_SERVICE_TIMEOUT";
const ATTEMPTS: &str = "AWS_METADATA_SERVICE_NUM_ATTEMPTS";

/// As much of both as counts.
const MOST: u64 = 60;

/// Elsewhere nobody refuses the connection: then this is how long a start without credentials waits. Who takes the connection is
/// there, and may be slow.
const PATIENCE: TimeLimits = TimeLimits { connect: Duration::from_secs(1), total: Duration::from_millis(1800) };

/// A service that has given its token, which all its answers need.
struct Imds<'o> {
    outside: &'o Outside,
    client: Client,
    origin: String,
    token: SecretValue,
}

pub async fn find(outside: &Outside) -> Result<Found, ProviderError> {
    let service = match Imds::reach(outside).await? {
        Ok(service) => service,
        Err(passed) => return Ok(Found::Passed(passed)),
    };
    let response = service.ask(ROLES).await?;
    if response.status() == 404 {
        return Ok(Found::Passed(format!("{} has no role for this machine", response.peer())));
    }
    let role = text(&response, ATTEMPTED)?;
    let response = service.ask(&format!("{ROLES}{}", role.lines().next().unwrap_or_default())).await?;
    match response.is_success() {
        true => issued::keys(&response, ATTEMPTED).map(Found::Keys),
        false => Err(metadata::refusal(&response, ATTEMPTED)),
    }
}

/// The machine's region, or why it cannot be told.
pub async fn region(outside: &Outside) -> Result<Result<String, String>, ProviderError> {
    let service = match Imds::reach(outside).await? {
        Ok(service) => service,
        Err(passed) => return Ok(Err(passed)),
    };
    let attempted = "cannot ask for this machine's region";
    text(&service.ask("/latest/meta-data/placement/region").await?, attempted).map(Ok)
}

impl<'o> Imds<'o> {
    /// The service, or why it is passed over.
    async fn reach(outside: &'o Outside) -> Result<Result<Self, String>, ProviderError> {
        if outside.variable(DISABLED).is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(Err(format!("`{DISABLED}` is true")));
        }
        let origin = origin(outside)?;
        let patience =
            number(outside, TIMEOUT)?.map_or(PATIENCE, |seconds| TimeLimits::of(Duration::from_secs(seconds)));
        let client = metadata::client(patience, Plaintext::Metadata, &outside.context)?;
        let mut attempts = number(outside, ATTEMPTS)?.unwrap_or(1);
        let response = loop {
            let request = Request::new(Method::PUT, url(&origin, "/latest/api/token")?)
                .header("x-aws-ec2-metadata-token-ttl-seconds", "300")?;
            match outside.send(&client, request).await {
                Ok(response) => break response,
                Err(_) if attempts > 1 => attempts -= 1,
                // Something else may answer at this address: that is no failure of the machine's own service.
                Err(error) => {
                    let why = format!(
                        "{} (a container on EC2 is answered where the machine's hop limit is 2 or more)",
                        error.message
                    );
                    // Where it alone may give keys, there is nothing to go on with: it may be there in a moment.
                    return match outside.way.get() {
                        Some(Way::Machine) => Err(ProviderError { message: format!("{ATTEMPTED}: {why}"), ..error }),
                        _ => Ok(Err(why)),
                    };
                }
            }
        };
        match response.status() {
            // It is there, and busy: to pass it over would give another identity, or none.
            408 | 429 | 500.. => Err(metadata::refusal(&response, ATTEMPTED)),
            200 => {
                let token = response.into_body();
                Ok(Ok(Self { outside, client, origin, token }))
            }
            403 => Ok(Err(format!("the metadata service of {origin} is switched off"))),
            status => Ok(Err(format!("{origin} is no metadata service of version 2: it answered {status}"))),
        }
    }

    async fn ask(&self, path: &str) -> Result<Response, ProviderError> {
        let token = SecretValue::from(self.token.expose().trim_ascii().to_vec());
        let request = Request::get(url(&self.origin, path)?).secret_header("x-aws-ec2-metadata-token", token)?;
        self.outside.send(&self.client, request).await.map_err(|error| error.context(ATTEMPTED))
    }
}

fn origin(outside: &Outside) -> Result<String, ProviderError> {
    if let Some(endpoint) = outside.variable(ENDPOINT) {
        let url = url(endpoint, "")?;
        Address::parse(url.as_str(), Plaintext::Metadata).map_err(|complaint| {
            denied(format!("{ATTEMPTED}: `{ENDPOINT}`: {}", complaint.message))
                .hint("unset it, or set it to an address on this machine's link")
        })?;
        return Ok(endpoint.trim_end_matches('/').to_owned());
    }
    match outside.variable(MODE).map(str::to_ascii_lowercase).as_deref() {
        None | Some("ipv4") => Ok("http://169.254.169.254".to_owned()),
        Some("ipv6") => Ok("http://[fd00:ec2::254]".to_owned()),
        Some(other) => {
            let message = format!("{ATTEMPTED}: `{MODE}` is \"{}\", expected \"IPv4\" or \"IPv6\"", excerpt(other));
            Err(denied(message))
        }
    }
}

/// A variable that holds a number, from 1 on.
fn number(outside: &Outside, name: &str) -> Result<Option<u64>, ProviderError> {
    let Some(text) = outside.variable(name) else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(number @ 1..) => Ok(Some(number.min(MOST))),
        _ => Err(denied(format!("{ATTEMPTED}: `{name}` is \"{}\", expected a number from 1 on", excerpt(text)))),
    }
}

fn url(origin: &str, path: &str) -> Result<Url, ProviderError> {
    Url::parse(&format!("{origin}{path}")).map_err(|_| denied(format!("{ATTEMPTED}: `{ENDPOINT}` is no URL")))
}

/// A name: an answer in one line of plain characters.
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
