//! The errors for a vault's refusals, in handfast's own words (learn.microsoft.com/azure/key-vault/general/rest-error-codes).
//!
//! The codes in a refusal's body, and some words of its message, only select one of the texts here. They are never printed.

use std::fmt;

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Response;
use serde::Deserialize;

/// A request, for the text of its error.
pub struct Attempt<'a> {
    /// The vault's name.
    pub vault: &'a str,
    /// The secret's name.
    pub secret: &'a str,
    /// Whether a version was requested.
    pub versioned: bool,
}

/// The hint that another program than a vault may be at the address.
pub const ELSEWHERE: &str =
    "look at the address: what answers there may not be a Key Vault but a proxy, a login page or another program";

/// A response without success. It passes through the SDK as an error.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    cause: Cause,
    /// The error for its status: `: https://… answered 503 Service Unavailable`.
    failure: ProviderError,
}

/// The cause of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    NotFound,
    Disabled,
    Expired,
    NotYetValid,
    Role,
    AccessPolicy,
    Firewall,
    PrivateLink,
    OtherTenant,
    OtherAudience,
    /// The vault has another code.
    Unknown,
    /// The response is not from a vault.
    Foreign,
}

/// The codes that select a cause: the refusal's own, or that of its inner error.
const CODES: &[(&str, Cause)] = &[
    ("SecretDisabled", Cause::Disabled),
    ("SecretExpired", Cause::Expired),
    ("SecretNotYetValid", Cause::NotYetValid),
    ("ForbiddenByRbac", Cause::Role),
    ("AccessDenied", Cause::AccessPolicy),
    ("ForbiddenByPolicy", Cause::AccessPolicy),
    ("ForbiddenByFirewall", Cause::Firewall),
    ("ForbiddenByConnection", Cause::PrivateLink),
    ("SecretNotFound", Cause::NotFound),
];

/// Words in the message that select a cause, if no code does.
const WORDS: &[(&str, Cause)] = &[
    ("AKV10032", Cause::OtherTenant),
    ("Invalid issuer", Cause::OtherTenant),
    ("AKV10022", Cause::OtherAudience),
    ("Invalid audience", Cause::OtherAudience),
    ("not allowed on a disabled", Cause::Disabled),
    ("not allowed on a expired", Cause::Expired),
    ("not allowed on an expired", Cause::Expired),
    ("not yet valid", Cause::NotYetValid),
    ("Public network access is disabled", Cause::PrivateLink),
    ("Client address is not authorized", Cause::Firewall),
    ("permission on key vault", Cause::AccessPolicy),
    ("not authorized to perform action", Cause::Role),
];

#[derive(Deserialize)]
struct Body {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default, alias = "innerError")]
    innererror: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    code: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a refusal with the status {}", self.status)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Reads a response.
    pub fn of(response: &Response) -> Self {
        let body = serde_json::from_slice(response.body().expose()).map(|Body { error }| error);
        let cause = body.map_or(Cause::Foreign, |body| cause(&body));
        Self { status: response.status(), cause, failure: response.failure("") }
    }

    /// Whether the vault refuses the token itself, so that another token may be accepted.
    pub fn is_of_token(&self) -> bool {
        (self.status, self.cause) == (401, Cause::Unknown)
    }

    /// The error for a refused request for a secret. `tenant` is the vault's tenant, if known.
    pub fn explain(&self, attempt: &Attempt<'_>, tenant: Option<&str>) -> ProviderError {
        let Attempt { vault, secret, .. } = attempt;
        let denied = |why: &str| attempt.failure(ErrorKind::Denied, why);
        match (self.status, self.cause) {
            (401 | 403, Cause::Disabled) => denied("it is disabled").hint(format!(
                "`az keyvault secret set-attributes --vault-name {vault} --name {secret} --enabled true` enables it"
            )),
            (401 | 403, Cause::Expired) => attempt.expired(),
            (401 | 403, Cause::NotYetValid) => attempt.not_yet_valid(),
            (401 | 403, Cause::Role) => denied("no role allows it")
                .hint("assign the role `Key Vault Secrets User`, as `handfast policy` writes it; it takes some minutes until it counts"),
            (401 | 403, Cause::AccessPolicy) => denied("no access policy of the vault allows it").hint(format!(
                "`az keyvault set-policy --name {vault} --object-id <object id> --secret-permissions get` does"
            )),
            (401 | 403, Cause::Firewall) => denied("the vault's firewall does not let this address in")
                .hint("`az keyvault network-rule add` lets an address or a subnet in"),
            (401 | 403, Cause::PrivateLink) => denied("the vault is not reached from public networks")
                .hint("its private endpoint must be in this network, and the vault's name resolve to it here"),
            (401, Cause::OtherTenant) => {
                let error = denied("the token is another tenant's than the vault");
                match tenant {
                    Some(tenant) => error.hint(format!("the vault is of the tenant `{tenant}`: look at `tenant_id` or AZURE_TENANT_ID")),
                    None => error.hint("look at `tenant_id` or AZURE_TENANT_ID"),
                }
            }
            (401, Cause::OtherAudience) => denied("the token is for something else than Key Vault")
                .hint("a token in a file must be for the cloud's Key Vault: `az account get-access-token --resource https://vault.azure.net`"),
            (401, Cause::Unknown) => denied("the vault does not take the token")
                .hint("it has expired, or its issuer is not known there; look at this machine's clock"),
            (404, Cause::NotFound) if attempt.versioned => attempt.failure(ErrorKind::NotFound, "there is no such secret, or no such version"),
            (404, Cause::NotFound) => attempt.failure(ErrorKind::NotFound, "there is no such secret"),
            _ => self.failure(&attempt.text()),
        }
    }

    /// The error for a refused request for the challenge.
    pub fn of_vault(&self, place: &str) -> ProviderError {
        self.failure(&format!("cannot ask {place}"))
    }

    /// The error for a status without a special meaning. A response that is not from a vault must not count as a missing secret,
    /// because the secret may be optional.
    fn failure(&self, attempted: &str) -> ProviderError {
        let message = format!("{attempted}{}", self.failure.message);
        let error = match (self.status, self.cause) {
            (429, _) => {
                ProviderError::new(ErrorKind::Unavailable, format!("{attempted}: the vault gets too many requests"))
            }
            (408 | 500.., _) => ProviderError::new(ErrorKind::Unavailable, message),
            (401 | 403 | 407, Cause::Foreign) => ProviderError::new(ErrorKind::Denied, message)
                .hint("something on the way to the vault refuses the request, such as a proxy"),
            (401 | 403 | 407, _) => ProviderError::new(ErrorKind::Denied, message),
            (_, Cause::Foreign) => ProviderError::new(ErrorKind::Malformed, message).hint(ELSEWHERE),
            _ => ProviderError::new(ErrorKind::Malformed, message),
        };
        ProviderError { retry_after: self.failure.retry_after, ..error }
    }
}

fn cause(body: &ErrorBody) -> Cause {
    let inner = body.innererror.as_ref().map_or("", |inner| inner.code.as_str());
    let by_code = [inner, &body.code].iter().find_map(|code| CODES.iter().find(|(known, _)| known == code));
    let by_word = || WORDS.iter().find(|(word, _)| body.message.contains(word));
    match by_code.or_else(by_word) {
        Some((_, cause)) => *cause,
        None if body.code.is_empty() => Cause::Foreign,
        None => Cause::Unknown,
    }
}

impl Attempt<'_> {
    /// The start of an error's text.
    pub fn text(&self) -> String {
        format!("cannot read `{}` of the vault `{}`", self.secret, self.vault)
    }

    /// A failure of this attempt.
    pub fn failure(&self, kind: ErrorKind, why: &str) -> ProviderError {
        ProviderError::new(kind, format!("{}: {why}", self.text()))
    }

    /// The failure if the response cannot be read.
    pub fn malformed(&self) -> ProviderError {
        self.failure(ErrorKind::Malformed, "the vault's answer is not what its interface promises").hint(ELSEWHERE)
    }

    /// The failure for an expired secret.
    pub fn expired(&self) -> ProviderError {
        self.failure(ErrorKind::Denied, "it has expired").hint(format!(
            "set a new version, or `az keyvault secret set-attributes --vault-name {} --name {} --expires <date>` gives it more time",
            self.vault, self.secret
        ))
    }

    /// The failure for a secret before its first date.
    pub fn not_yet_valid(&self) -> ProviderError {
        self.failure(ErrorKind::Denied, "it is not valid yet").hint(format!(
            "`?version=` names an older version; `az keyvault secret set-attributes --vault-name {} --name {} --not-before <date>` sets its date",
            self.vault, self.secret
        ))
    }

    /// The failure for a deleted secret that can be recovered.
    pub fn recoverable(&self) -> ProviderError {
        self.failure(ErrorKind::NotFound, "it was deleted, and can be recovered").hint(format!(
            "`az keyvault secret recover --vault-name {} --name {}` brings it back",
            self.vault, self.secret
        ))
    }
}
