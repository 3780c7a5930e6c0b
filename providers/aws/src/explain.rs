//! What AWS' refusals mean, in our words.
//!
//! Of a refusal its code and its message are looked at, and never printed: they select one of the texts here. The message
//! may quote a request, a policy or an account.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use handfast_core::{ErrorKind, ProviderError};

use crate::connector::Told;

/// Why a call gave nothing.
pub enum Failed {
    /// No answer came, or none that could be read: the whole explanation.
    Unanswered(ProviderError),
    /// AWS has refused it.
    Refused(Refusal),
}

/// A refusal, whole or of one item of a batch.
pub struct Refusal {
    code: String,
    /// In lower case.
    message: String,
    status: u16,
    peer: String,
    retry_after: Option<Duration>,
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The keys are over.
    ExpiredKeys,
    /// The signature is of a time that AWS takes for long ago or to come.
    Clock,
    /// The keys are none, or not these.
    Keys,
    /// What they may.
    Permission,
    /// For now.
    Passing,
    /// What was asked for.
    Request,
}

/// What was attempted, for a text.
pub struct Attempt<'a> {
    /// ``cannot read the secret `web/db` ``
    pub what: String,
    /// What a policy must allow: `secretsmanager:GetSecretValue`.
    pub action: &'static str,
    /// The resource of that permission, without the account where nobody has said it.
    pub resource: String,
    /// Where it was asked.
    pub region: &'a str,
    /// What brings it back where it is deleted.
    pub restore: Option<String>,
}

impl Refusal {
    /// The refusal of one item of a batch. It came with an answer that is none.
    pub fn of_item(code: Option<&str>, message: Option<&str>) -> Self {
        Self {
            code: code.unwrap_or_default().to_owned(),
            message: message.unwrap_or_default().to_lowercase(),
            status: 400,
            peer: "AWS".to_owned(),
            retry_after: None,
        }
    }

    /// What it is about.
    pub fn about(&self) -> About {
        let says = |text: &str| self.message.contains(text);
        match self.code.as_str() {
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => About::ExpiredKeys,
            "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => About::Clock,
            "InvalidSignatureException" | "SignatureDoesNotMatch" | "AuthFailure"
                if says("signature expired") || says("not yet current") =>
            {
                About::Clock
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "AuthFailure"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "OptInRequired"
            | "SubscriptionRequiredException" => About::Keys,
            "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "UnauthorizedOperation" => About::Permission,
            // What the SDKs take for throttling and for transient (docs.aws.amazon.com/sdkref: retry behavior).
            "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "LimitExceededException"
            | "PriorRequestNotComplete"
            | "SlowDown"
            | "InternalServiceError"
            | "InternalServiceErrorException"
            | "InternalServerError"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "RequestTimeout"
            | "RequestTimeoutException" => About::Passing,
            "" if self.status == 401 || self.status == 407 => About::Keys,
            "" if self.status == 403 => About::Permission,
            _ if self.status >= 500 || self.status == 429 || self.status == 408 => About::Passing,
            _ => About::Request,
        }
    }

    fn is_throttling(&self) -> bool {
        self.status == 429
            || ["Thrott", "TooManyRequests", "Exceeded", "SlowDown"].iter().any(|part| self.code.contains(part))
    }
}

impl Failed {
    /// What an SDK's error is. Nothing of it is kept that could hold a body.
    pub fn of<E: ProvideErrorMetadata>(error: SdkError<E, HttpResponse>) -> Self {
        let unreadable = |peer: &str, status: u16| {
            let message = format!("{peer} answered {status} with something else than AWS does");
            Self::Unanswered(ProviderError::new(ErrorKind::Malformed, message).hint(ENDPOINT))
        };
        match error {
            SdkError::DispatchFailure(failure) => {
                let source = failure.as_connector_error().and_then(std::error::Error::source);
                match source.and_then(|source| source.downcast_ref::<ProviderError>()) {
                    Some(error) => Self::Unanswered(error.once_more()),
                    None => Self::Unanswered(unsent()),
                }
            }
            SdkError::ServiceError(refused) => {
                let (peer, retry_after) = told(refused.raw());
                let (status, meta) = (refused.raw().status().as_u16(), refused.err().meta());
                // Without a code it is not AWS' answer: a proxy's, say. Only its status counts.
                let code = meta.code().unwrap_or_default();
                if code.is_empty() && (status < 400 || (404..=406).contains(&status)) {
                    return unreadable(&peer, status);
                }
                Self::Refused(Refusal {
                    code: code.to_owned(),
                    message: meta.message().unwrap_or_default().to_lowercase(),
                    status,
                    peer,
                    retry_after,
                })
            }
            SdkError::ResponseError(unread) => {
                let (peer, retry_after) = told(unread.raw());
                match unread.raw().status().as_u16() {
                    status @ (408 | 429 | 500..) => Self::Refused(Refusal {
                        code: String::new(),
                        message: String::new(),
                        status,
                        peer,
                        retry_after,
                    }),
                    status => unreadable(&peer, status),
                }
            }
            _ => Self::Unanswered(unsent()),
        }
    }
}

fn unsent() -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, "the SDK could not make the request")
}

fn told(answer: &HttpResponse) -> (String, Option<Duration>) {
    let told = answer.extension::<Told>();
    (told.map_or("AWS", |told| &told.peer).to_owned(), told.and_then(|told| told.retry_after))
}

const ENDPOINT: &str = "look at `endpoint` and at the AWS_ENDPOINT_URL variables: is it AWS that answers there?";

impl Attempt<'_> {
    /// What a failed call means for what was attempted.
    pub fn explain(&self, failed: &Failed) -> ProviderError {
        match failed {
            Failed::Unanswered(error) => {
                let error = error.once_more();
                ProviderError { message: format!("{}: {}", self.what, error.message), ..error }
            }
            Failed::Refused(refusal) => self.refused(refusal),
        }
    }

    /// A failure of this attempt.
    pub fn failure(&self, kind: ErrorKind, why: &str) -> ProviderError {
        ProviderError::new(kind, format!("{}: {why}", self.what))
    }

    /// That there is no such thing.
    pub fn absent(&self, why: &str) -> ProviderError {
        self.failure(ErrorKind::NotFound, why)
            .hint(format!("it was looked for in the region `{}`; names are matched to the letter", self.region))
    }

    fn refused(&self, refusal: &Refusal) -> ProviderError {
        match refusal.about() {
            About::ExpiredKeys => self
                .failure(ErrorKind::Denied, "AWS does not take the session token: it has expired")
                .hint("get new credentials; those in the environment cannot be renewed from here"),
            About::Clock => self
                .failure(ErrorKind::Denied, "AWS takes the signature's time for wrong")
                .hint("set this machine's clock: AWS allows 5 minutes"),
            About::Keys => self.keys(refusal),
            About::Permission => self.permission(refusal),
            About::Passing => {
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

    /// KMS first: Secrets Manager and Parameter Store say so in a refusal of their own.
    fn permission(&self, refusal: &Refusal) -> ProviderError {
        let says = |text: &str| refusal.message.contains(text);
        let account = "*";
        if says("kms") || says("ciphertext") {
            let why = "the identity may not decrypt it: KMS refuses";
            let key = format!("arn:{}:kms:{}:{account}:key/<its key>", partition(self.region), self.region);
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
                self.absent("there is no such version")
            }
            "ResourceNotFoundException" => self.absent("there is no such secret"),
            "ParameterVersionNotFound" | "ParameterVersionNotFoundException" => self.absent("there is no such version"),
            "ParameterNotFound" | "ParameterNotFoundException" => self.absent("there is no such parameter"),
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

/// A code, where it is one of those that AWS documents for what is asked here.
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

fn partition(region: &str) -> &'static str {
    crate::endpoints::partition(region).name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(code: &str, message: &str) -> ProviderError {
        let attempt = Attempt {
            what: "cannot read the secret `web/db`".into(),
            action: "secretsmanager:GetSecretValue",
            resource: "arn:aws:secretsmanager:eu-west-1:*:secret:web/db-??????".into(),
            region: "eu-west-1",
            restore: Some("aws secretsmanager restore-secret --secret-id web/db".into()),
        };
        let message = format!("{message} hunter2");
        let error = attempt.refused(&Refusal::of_item(Some(code), Some(&message)));
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        error
    }

    #[test]
    fn a_code_and_a_message_select_a_text() {
        use ErrorKind::*;
        for (code, message, kind, text) in [
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret.",
                NotFound,
                "no such secret",
            ),
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
                NotFound,
                "no value yet",
            ),
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for VersionId: x",
                NotFound,
                "no such version",
            ),
            ("ParameterNotFound", "", NotFound, "no such parameter"),
            ("ParameterVersionNotFound", "", NotFound, "no such version"),
            (
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
                NotFound,
                "scheduled for deletion",
            ),
            ("AccessDeniedException", "User: x is not authorized to perform: y", Denied, "access denied"),
            ("AccessDeniedException", "Access to KMS is not allowed", Denied, "KMS refuses"),
            (
                "AccessDeniedException",
                "The ciphertext refers to a customer master key that does not exist, or you are not allowed to access.",
                Denied,
                "KMS refuses",
            ),
            (
                "AccessDeniedException",
                "with an explicit deny in a service control policy",
                Denied,
                "control policy denies",
            ),
            ("DecryptionFailure", "", Denied, "cannot be decrypted"),
            ("ThrottlingException", "Rate exceeded", Unavailable, "throttling"),
            ("ExpiredTokenException", "", Denied, "expired"),
            ("InvalidSignatureException", "Signature expired: 2015 is now earlier", Denied, "signature's time"),
            ("InvalidSignatureException", "The request signature we calculated", Denied, "not that of the access key"),
            ("UnrecognizedClientException", "", Denied, "does not know the access key"),
            ("ValidationException", "", Malformed, "(ValidationException)"),
            ("hunter2", "", Malformed, "as it is"),
        ] {
            let error = explained(code, message);
            assert_eq!(error.kind, kind, "{code} {message}");
            assert!(error.message.contains(text), "{code} {message}: {error}");
        }
    }

    #[test]
    fn a_denial_says_what_to_allow() {
        let hint = explained("AccessDeniedException", "").hint.unwrap();
        assert_eq!(
            hint,
            "allow `secretsmanager:GetSecretValue` on `arn:aws:secretsmanager:eu-west-1:*:secret:web/db-??????`"
        );
    }
}
