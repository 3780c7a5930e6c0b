//! What a vault's refusals mean, in our words (learn.microsoft.com/azure/key-vault/general/rest-error-codes).
//!
//! Of an answer's body only the codes of a refusal are looked at, and two words of its message; they select one of the texts
//! here, and are never printed.

use std::fmt;

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Response;
use serde::Deserialize;

/// What was attempted.
pub struct Attempt<'a> {
    /// The vault's name.
    pub vault: &'a str,
    /// The secret's.
    pub secret: &'a str,
    /// Whether a version was asked for.
    pub versioned: bool,
}

/// Where a vault may not be.
pub const ELSEWHERE: &str =
    "look at the address: what answers there may not be a Key Vault but a proxy, a login page or another program";

/// An answer that is no success, on its way through the SDK.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    cause: Cause,
    /// What its status stands for, in the client's words: `: https://… answered 503 Service Unavailable`.
    failure: ProviderError,
}

/// Why.
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
    /// The vault says something else.
    Unknown,
    /// No vault says that.
    Stranger,
}

/// The codes that select a cause: of the refusal itself, or of what it says is inside.
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

/// Words of a message that select a cause, where no code does.
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
    error: Said,
}

#[derive(Deserialize)]
struct Said {
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
    /// What an answer says.
    pub fn of(response: &Response) -> Self {
        let said = serde_json::from_slice(response.body().expose()).map(|Body { error }| error);
        let cause = said.map_or(Cause::Stranger, |said| cause(&said));
        Self { status: response.status(), cause, failure: response.failure("") }
    }

    /// Whether it is the token alone that is refused: another one may do.
    pub fn is_of_token(&self) -> bool {
        (self.status, self.cause) == (401, Cause::Unknown)
    }

    /// The same in our words, of a request for a secret. `tenant` is the vault's, where that is known.
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
            _ => self.failure(&attempt.says()),
        }
    }

    /// The same where the vault as such refuses.
    pub fn of_vault(&self, place: &str) -> ProviderError {
        self.failure(&format!("cannot ask {place}"))
    }

    /// What a status stands for that has no other meaning. A stranger's must not pass for "there is no such secret", which may
    /// be optional.
    fn failure(&self, attempted: &str) -> ProviderError {
        let said = format!("{attempted}{}", self.failure.message);
        let error = match (self.status, self.cause) {
            (429, _) => {
                ProviderError::new(ErrorKind::Unavailable, format!("{attempted}: the vault gets too many requests"))
            }
            (408 | 500.., _) => ProviderError::new(ErrorKind::Unavailable, said),
            (401 | 403 | 407, Cause::Stranger) => ProviderError::new(ErrorKind::Denied, said)
                .hint("something on the way to the vault refuses the request, such as a proxy"),
            (401 | 403 | 407, _) => ProviderError::new(ErrorKind::Denied, said),
            (_, Cause::Stranger) => ProviderError::new(ErrorKind::Malformed, said).hint(ELSEWHERE),
            _ => ProviderError::new(ErrorKind::Malformed, said),
        };
        ProviderError { retry_after: self.failure.retry_after, ..error }
    }
}

fn cause(said: &Said) -> Cause {
    let inner = said.innererror.as_ref().map_or("", |inner| inner.code.as_str());
    let by_code = [inner, &said.code].iter().find_map(|code| CODES.iter().find(|(known, _)| known == code));
    let by_word = || WORDS.iter().find(|(word, _)| said.message.contains(word));
    match by_code.or_else(by_word) {
        Some((_, cause)) => *cause,
        None if said.code.is_empty() => Cause::Stranger,
        None => Cause::Unknown,
    }
}

impl Attempt<'_> {
    /// What was attempted.
    pub fn says(&self) -> String {
        format!("cannot read `{}` of the vault `{}`", self.secret, self.vault)
    }

    /// A failure of this attempt.
    pub fn failure(&self, kind: ErrorKind, why: &str) -> ProviderError {
        ProviderError::new(kind, format!("{}: {why}", self.says()))
    }

    /// An answer that cannot be read.
    pub fn malformed(&self) -> ProviderError {
        self.failure(ErrorKind::Malformed, "the vault's answer is not what its interface promises").hint(ELSEWHERE)
    }

    /// A secret whose time is over.
    pub fn expired(&self) -> ProviderError {
        self.failure(ErrorKind::Denied, "it has expired").hint(format!(
            "set a new version, or `az keyvault secret set-attributes --vault-name {} --name {} --expires <date>` gives it more time",
            self.vault, self.secret
        ))
    }

    /// A secret whose time has not come.
    pub fn not_yet_valid(&self) -> ProviderError {
        self.failure(ErrorKind::Denied, "it is not valid yet").hint(format!(
            "`?version=` names an older version; `az keyvault secret set-attributes --vault-name {} --name {} --not-before <date>` sets its date",
            self.vault, self.secret
        ))
    }

    /// A secret that can be had back.
    pub fn recoverable(&self) -> ProviderError {
        self.failure(ErrorKind::NotFound, "it was deleted, and can be recovered").hint(format!(
            "`az keyvault secret recover --vault-name {} --name {}` brings it back",
            self.vault, self.secret
        ))
    }
}
