//! A call that gave nothing: what the SDK's errors are, and what AWS' codes are about.
//!
//! Of a refusal its code and its message are looked at, and never printed: they select one of the texts in
//! [`explain`](crate::explain). The message may quote a request, a policy or an account.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
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
    /// AWS' word for it.
    pub code: String,
    /// Its sentence, in lower case.
    pub message: String,
    /// The status of its answer.
    pub status: u16,
    /// Who has answered.
    pub peer: String,
    /// How long it asks to wait.
    pub retry_after: Option<Duration>,
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
            _ if self.status >= 500 || self.status == 429 || self.status == 408 => About::Passing,
            _ => About::Request,
        }
    }

    /// Whether it is for want of capacity.
    pub fn is_throttling(&self) -> bool {
        self.status == 429
            || ["Thrott", "TooManyRequests", "Exceeded", "SlowDown"].iter().any(|part| self.code.contains(part))
    }
}

impl Failed {
    /// What an SDK's error is. Nothing of it is kept that could hold a body.
    pub fn of<E: ProvideErrorMetadata>(error: SdkError<E, HttpResponse>) -> Self {
        match error {
            SdkError::DispatchFailure(failure) => {
                let source = failure.as_connector_error().and_then(std::error::Error::source);
                let error = source.and_then(|source| source.downcast_ref::<ProviderError>());
                Self::Unanswered(error.map_or_else(unsent, ProviderError::once_more))
            }
            SdkError::ServiceError(refused) => Self::answered(refused.raw(), refused.err().meta()),
            SdkError::ResponseError(unread) => Self::answered(unread.raw(), &ErrorMetadata::default()),
            _ => Self::Unanswered(unsent()),
        }
    }

    fn answered(answer: &HttpResponse, meta: &ErrorMetadata) -> Self {
        let told = answer.extension::<Told>();
        let peer = told.map_or("AWS", |told| &told.peer).to_owned();
        let status = answer.status().as_u16();
        let code = meta.code().unwrap_or_default().to_owned();
        if let Some(error) = of_another(&code, &peer, status) {
            return Self::Unanswered(error);
        }
        let message = meta.message().unwrap_or_default().to_lowercase();
        Self::Refused(Refusal { code, message, status, peer, retry_after: told.and_then(|told| told.retry_after) })
    }
}

/// A refusal without a code is not AWS' answer, but a proxy's, say: only its status counts. One that may pass is like AWS' own.
pub fn of_another(code: &str, peer: &str, status: u16) -> Option<ProviderError> {
    let kind = match status {
        _ if !code.is_empty() => return None,
        408 | 429 | 500.. => return None,
        401 | 403 | 407 => ErrorKind::Denied,
        _ => ErrorKind::Malformed,
    };
    let message = format!("{peer} answered {status} with something else than AWS does");
    Some(ProviderError::new(kind, message).hint(ENDPOINT))
}

fn unsent() -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, "the SDK could not make the request")
}

/// What to look at where it is not AWS that answers.
pub const ENDPOINT: &str = "look at `endpoint` and at the AWS_ENDPOINT_URL variables: is it AWS that answers there?";
