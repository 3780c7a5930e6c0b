//! The Security Token Service: assumes roles, and finds the keys' account (docs.aws.amazon.com/STS/latest/APIReference).
//!
//! Only three requests are needed, and few fields of their XML responses, which are found by text search. STS's SDK would be a
//! tenth of the binary.

use handfast_core::{ErrorKind, ProviderError, SecretValue, excerpt};
use handfast_http::{Request, Response, Url};

use super::keys::{Keys, time};
use super::machine;
use super::resources::{Resources, denied, token_file};
use super::settings::{Role, Way};
use super::shared_files::known_region;
use crate::refusal;
use crate::signature::Post;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const VERSION: (&str, &str) = ("Version", "2011-06-15");

/// The region if none is known. STS is available in every region, and this region cannot be disabled.
const DEFAULT_REGION: &str = "us-east-1";

/// Assumes a role with the keys of another identity.
pub async fn assume(resources: &Resources, keys: &Keys, role: &Role<'_>) -> Result<Keys, ProviderError> {
    let attempted = format!("cannot assume the role `{}`", excerpt(role.arn));
    let mut fields = vec![("Action", "AssumeRole"), VERSION];
    fields.extend([("RoleArn", role.arn), ("RoleSessionName", role.session_name)]);
    fields.extend(role.external_id.map(|id| ("ExternalId", id)));
    let response = send_signed(resources, keys, &fields).await.map_err(|error| error.context(&attempted))?;
    assumed(&response, &attempted)
}

/// Assumes a role with the token of an identity provider that the role trusts.
pub async fn assume_with_token(resources: &Resources, file: &str, role: &Role<'_>) -> Result<Keys, ProviderError> {
    let attempted = format!("cannot assume the role `{}` with a web identity", excerpt(role.arn));
    let token = token_file(file, &resources.context).map_err(|error| error.context(&attempted))?;
    let token = std::str::from_utf8(token.expose())
        .map_err(|_| denied(format!("{attempted}: the token in `{}` is not text", excerpt(file))))?;
    let fields = [
        ("Action", "AssumeRoleWithWebIdentity"),
        VERSION,
        ("RoleArn", role.arn),
        ("RoleSessionName", role.session_name),
        ("WebIdentityToken", token),
    ];
    let (url, _) = endpoint(resources).await?;
    let request = Request::post(url, FORM, SecretValue::from(form(&fields).into_bytes()));
    let response = resources.send(&resources.client, request).await.map_err(|error| error.context(&attempted))?;
    let keys = assumed(&response, &attempted);
    match &keys {
        Ok(_) => resources.grace.reset(),
        Err(_) if is_key_unavailable(&response) => {
            let now = resources.context.clock.now();
            return keys.map_err(|error| ProviderError { kind: resources.grace.kind(now), ..error });
        }
        Err(_) => {}
    }
    keys
}

/// Whether STS could not get the identity provider's key. This may be temporary, and AWS's own tools retry.
fn is_key_unavailable(response: &Response) -> bool {
    field(response, "Code") == Some("InvalidIdentityToken")
        && std::str::from_utf8(response.body().expose()).is_ok_and(|text| text.contains("retrieve verification key"))
}

/// The number of the keys' account.
pub async fn account(resources: &Resources, keys: &Keys) -> Result<u64, ProviderError> {
    let attempted = "cannot ask which account this is";
    let response = send_signed(resources, keys, &[("Action", "GetCallerIdentity"), VERSION])
        .await
        .map_err(|error| error.context(attempted))?;
    if !response.is_success() {
        return Err(refused(&response, attempted));
    }
    let number = field(&response, "Account").and_then(|text| text.parse().ok());
    number.ok_or_else(|| malformed(&response, attempted))
}

async fn send_signed(resources: &Resources, keys: &Keys, fields: &[(&str, &str)]) -> Result<Response, ProviderError> {
    let (url, region) = endpoint(resources).await?;
    let body = form(fields);
    let post =
        Post { url: url.as_str(), headers: &[("content-type", FORM)], body: &body, region: &region, service: "sts" };
    let signed = post.sign(&keys.for_sdk()?, resources.context.clock.now())?;
    let mut request = Request::post(url, FORM, SecretValue::from(body.clone().into_bytes()));
    // The client sends these two headers itself, with the same values.
    for (name, value) in signed.into_iter().filter(|(name, _)| name != "host" && name != "content-type") {
        request = request.secret_header(&name, value)?;
    }
    resources.send(&resources.client, request).await
}

/// The URL of STS, and the region for its signature.
async fn endpoint(resources: &Resources) -> Result<(Url, String), ProviderError> {
    let known = match known_region(resources)? {
        // Another region may not be reachable from the machine, and another partition's STS does not accept its keys.
        None if resources.way.get() == Some(Way::Machine) => machine::region(resources).await?.ok(),
        known => known,
    };
    let region = known.unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let url = Url::parse(&resources.endpoints.sts(&region))
        .map_err(|_| denied(format!("cannot ask STS: \"{}\" is no region", excerpt(&region))))?;
    Ok((url, region))
}

/// Encodes a form, in the way that the URL library encodes a query.
fn form(fields: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params("https://sts/", fields).ok();
    url.and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

fn assumed(response: &Response, attempted: &str) -> Result<Keys, ProviderError> {
    if !response.is_success() {
        return Err(refused(response, attempted));
    }
    let needed = |name: &str| field(response, name).ok_or_else(|| malformed(response, attempted));
    let secret = |name: &str| needed(name).map(|text| SecretValue::from(text.as_bytes().to_vec()));
    Ok(Keys {
        id: needed("AccessKeyId")?.to_owned(),
        secret: secret("SecretAccessKey")?,
        session_token: Some(secret("SessionToken")?),
        expires: field(response, "Expiration").and_then(time),
    })
}

/// The text of an XML element. None of the needed fields is empty, or contains another element or an entity.
fn field<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    let text = std::str::from_utf8(response.body().expose()).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    let value = value.trim();
    (!value.is_empty() && !value.contains(['<', '&']) && !value.contains(char::is_control)).then_some(value)
}

/// The error for a refusal. STS's code only selects a text of handfast's own, and is not printed.
fn refused(response: &Response, attempted: &str) -> ProviderError {
    let code = match field(response, "Code").unwrap_or_default() {
        // STS has the same code for a signature whose time is wrong.
        "SignatureDoesNotMatch"
            if field(response, "Message").is_some_and(|message| message.starts_with("Signature ")) =>
        {
            "RequestExpired"
        }
        "" if response.status() == 429 => "Throttling",
        code => code,
    };
    if let Some(error) = refusal::not_from_aws(code, response.peer(), response.status()) {
        return error.context(attempted);
    }
    let (kind, why, hint) = match code {
        "AccessDenied" => (
            ErrorKind::Denied,
            "AWS denies it",
            "the role's trust policy must name this identity (and its external id), and this identity must be allowed sts:AssumeRole on it",
        ),
        "ExpiredTokenException" | "ExpiredToken" => {
            (ErrorKind::Denied, "the token has expired", "whatever writes the token must renew it before it ends")
        }
        "InvalidIdentityToken" => (
            ErrorKind::Denied,
            "AWS does not take the token",
            "the account needs an identity provider with the token's issuer, and the token the audience `sts.amazonaws.com`",
        ),
        "IDPRejectedClaim" => (
            ErrorKind::Denied,
            "the identity provider has rejected the token",
            "its audience or its subject is not the one that the role trusts",
        ),
        "InvalidClientTokenId" | "SignatureDoesNotMatch" | "UnrecognizedClientException" => {
            (ErrorKind::Denied, "AWS does not take the keys", "they are wrong, deleted, or of another partition")
        }
        "RequestTimeTooSkewed" | "RequestExpired" => (
            ErrorKind::Denied,
            "AWS rejected the request time: check this machine's clock",
            "AWS allows a difference of 5 minutes",
        ),
        "RegionDisabledException" => (
            ErrorKind::Denied,
            "STS is switched off in this region",
            "activate it in the account's settings, or set another `region`",
        ),
        "ValidationError" => (
            ErrorKind::Denied,
            "AWS takes the request for malformed",
            "look at `role_arn`, `external_id` and `session_name`",
        ),
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" => {
            let message = format!("{attempted}: STS answers no more requests for now (throttling)");
            return ProviderError { kind: ErrorKind::Unavailable, message, ..response.failure(attempted) };
        }
        "IDPCommunicationError" => {
            let message = format!("{attempted}: STS does not reach the identity provider for now");
            return ProviderError { kind: ErrorKind::Unavailable, message, ..response.failure(attempted) };
        }
        _ => {
            let kind =
                if matches!(response.status(), 408 | 429 | 500..) { ErrorKind::Unavailable } else { ErrorKind::Denied };
            return ProviderError { kind, ..response.failure(attempted) };
        }
    };
    ProviderError::new(kind, format!("{attempted}: {why}")).hint(hint)
}

fn malformed(response: &Response, attempted: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, format!("{attempted}: the answer of {} is none of STS'", response.peer()))
}
