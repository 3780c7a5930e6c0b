//! The errors for AWS's refusals, in handfast's own words.

use handfast_core::{ErrorKind, ProviderError};

use crate::endpoints::partition;
use crate::refusal::{About, ENDPOINT, Failed, Refusal};

/// A request, for the text of its error.
pub struct Attempt<'a> {
    /// The start of the text: ``cannot read the secret `web/db` ``.
    pub what: String,
    /// The action that a policy must allow: `secretsmanager:GetSecretValue`.
    pub action: &'static str,
    /// The resource of that action. It has `*` for an unknown account.
    pub resource: String,
    /// The region of the request.
    pub region: &'a str,
    /// The command to restore a deleted secret.
    pub restore: Option<String>,
}

impl Attempt<'_> {
    /// The error for a failed call.
    pub fn explain(&self, failed: &Failed) -> ProviderError {
        match failed {
            Failed::Unanswered(error) => error.once_more().context(&self.what),
            Failed::Refused(refusal) => self.refused(refusal),
        }
    }

    /// A failure of this attempt.
    pub fn failure(&self, kind: ErrorKind, why: &str) -> ProviderError {
        ProviderError::new(kind, format!("{}: {why}", self.what))
    }

    /// The failure if the secret or parameter does not exist.
    pub fn not_found(&self, why: &str) -> ProviderError {
        self.failure(ErrorKind::NotFound, why)
            .hint(format!("it was looked for in the region `{}`; names are matched to the letter", self.region))
    }

    fn refused(&self, refusal: &Refusal) -> ProviderError {
        match refusal.about() {
            About::ExpiredKeys => self
                .failure(ErrorKind::Denied, "AWS does not take the session token: it has expired")
                .hint("get new credentials; those in the environment cannot be renewed from here"),
            About::Clock => self
                .failure(ErrorKind::Denied, "AWS rejected the request time: check this machine's clock")
                .hint("AWS allows a difference of 5 minutes"),
            About::Keys => self.keys(refusal),
            About::Permission => self.permission(refusal),
            About::Temporary => {
                let why = match () {
                    () if refusal.is_throttling() => "AWS answers no more requests for now (throttling)".to_owned(),
                    () => format!("{} answered {}", refusal.peer, with_reason(refusal.status)),
                };
                let error = self.failure(ErrorKind::Unavailable, &why);
                ProviderError { retry_after: refusal.retry_after, ..error }
            }
            About::Request => self.request(refusal),
        }
    }

    fn keys(&self, refusal: &Refusal) -> ProviderError {
        let (why, hint) = match refusal.code.as_str() {
            "InvalidSignatureException" | "SignatureDoesNotMatch" => (
                "AWS does not take the signature: the secret access key is not that of the access key's id",
                "copy AWS_SECRET_ACCESS_KEY again, whole and without spaces",
            ),
            "OptInRequired" | "SubscriptionRequiredException" => {
                ("the account has not signed up for this service", "an administrator of the account does that")
            }
            _ => (
                "AWS does not know the access key, or does not take its session token",
                "look at AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN: deleted, of another partition, or of a region that the account has not enabled",
            ),
        };
        self.failure(ErrorKind::Denied, why).hint(hint)
    }

    /// Checks for KMS first: Secrets Manager and Parameter Store pass on its refusal in their own.
    fn permission(&self, refusal: &Refusal) -> ProviderError {
        let says = |text: &str| refusal.message.contains(text);
        let account = "*";
        if says("kms") || says("ciphertext") {
            let why = "the identity may not decrypt it: KMS refuses";
            let key = format!("arn:{}:kms:{}:{account}:key/<its key>", partition(self.region).name, self.region);
            return self.failure(ErrorKind::Denied, why).hint(format!(
                "allow `kms:Decrypt` on `{key}`, in the identity's policy and in the key's, where that is in another account"
            ));
        }
        let by = [
            ("service control policy", "a service control policy denies it"),
            ("resource control policy", "a resource control policy denies it"),
            ("permissions boundary", "the identity's permissions boundary does not allow it"),
            ("session policy", "the session's policy does not allow it"),
            ("vpc endpoint policy", "the VPC endpoint's policy does not allow it"),
            ("explicit deny in a resource-based policy", "a policy of the resource denies it"),
            ("explicit deny", "a policy of the identity denies it"),
        ];
        let by = by.iter().find(|(text, _)| says(text)).map_or("access denied", |(_, why)| why);
        self.failure(ErrorKind::Denied, by).hint(format!("allow `{}` on `{}`", self.action, self.resource))
    }

    fn request(&self, refusal: &Refusal) -> ProviderError {
        let says = |text: &str| refusal.message.contains(text);
        match refusal.code.as_str() {
            "ResourceNotFoundException" if says("awscurrent") => self
                .failure(ErrorKind::NotFound, "the secret has no value yet")
                .hint("`aws secretsmanager put-secret-value` gives it one"),
            "ResourceNotFoundException" if says("staging label") || says("versionid") => {
                self.not_found("there is no such version")
            }
            "ResourceNotFoundException" => self.not_found("there is no such secret"),
            "ParameterVersionNotFound" | "ParameterVersionNotFoundException" => {
                self.not_found("there is no such version")
            }
            "ParameterNotFound" | "ParameterNotFoundException" => self.not_found("there is no such parameter"),
            "InvalidRequestException" if says("delet") => {
                let error = self.failure(ErrorKind::NotFound, "it is scheduled for deletion");
                match &self.restore {
                    Some(restore) => error.hint(format!("`{restore}` brings it back")),
                    None => error,
                }
            }
            "DecryptionFailure"
            | "DecryptionFailureException"
            | "InvalidKeyId"
            | "InvalidKeyIdException"
            | "KMSAccessDeniedException"
            | "KMSInvalidStateException"
            | "KMSNotFoundException" => self
                .failure(ErrorKind::Denied, "it cannot be decrypted with its KMS key")
                .hint("look at the key: enabled, not about to be deleted, and open to this identity"),
            "UnknownOperationException" | "UnknownOperation" => self
                .failure(ErrorKind::Malformed, &format!("{} does not know the operation", refusal.peer))
                .hint(ENDPOINT),
            "" => self
                .failure(ErrorKind::Malformed, &format!("{} answered {}", refusal.peer, with_reason(refusal.status))),
            code => {
                let why = format!("AWS does not take the request as it is{}", known(code));
                self.failure(ErrorKind::Malformed, &why)
                    .hint("look at the reference: AWS' commands with the same name show AWS' own words")
            }
        }
    }
}

/// The code, if AWS documents it for these requests.
fn known(code: &str) -> String {
    const CODES: &[&str] = &[
        "InvalidParameterException",
        "InvalidRequestException",
        "InvalidNextTokenException",
        "InvalidNextToken",
        "ValidationException",
        "ValidationError",
        "InvalidFilterKey",
        "InvalidFilterValue",
        "InvalidFilterOption",
        "SerializationException",
    ];
    if CODES.contains(&code) { format!(" ({code})") } else { String::new() }
}

fn with_reason(status: u16) -> String {
    let reason = handfast_http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"))
}

#[cfg(test)]
mod tests;
