//! Failed calls: reads the SDK's errors, and sorts AWS's error codes.
//!
//! The code and the message of a refusal only select one of the texts in [`explain`](crate::explain). They are never printed,
//! because the message may quote a request, a policy or an account.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use handfast_core::{ErrorKind, ProviderError};

use crate::connector::ResponseInfo;

/// The reason for a failed call.
pub enum Failed {
    /// There was no response, or it could not be read. This is the whole error.
    Unanswered(ProviderError),
    /// AWS refused the request.
    Refused(Refusal),
}

/// A refusal, whole or of one item of a batch.
pub struct Refusal {
    /// AWS's error code.
    pub code: String,
    /// AWS's message, in lower case.
    pub message: String,
    /// The status of the response.
    pub status: u16,
    /// The server that responded.
    pub peer: String,
    /// How long AWS requires a client to wait.
    pub retry_after: Option<Duration>,
}

/// The subject of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The keys have expired.
    ExpiredKeys,
    /// The signature's time is too far in the past or the future.
    Clock,
    /// The keys are missing or wrong.
    Keys,
    /// The keys' permissions.
    Permission,
    /// The refusal is temporary.
    Temporary,
    /// The request itself, such as a missing secret.
    Request,
}

impl Refusal {
    /// The refusal of one item of a batch, in a response that is not a refusal.
    pub fn of_item(code: Option<&str>, message: Option<&str>) -> Self {
        Self {
            code: code.unwrap_or_default().to_owned(),
            message: message.unwrap_or_default().to_lowercase(),
            status: 400,
            peer: "AWS".to_owned(),
            retry_after: None,
        }
    }

    /// The subject of the refusal.
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
            // The SDKs treat these codes as throttling or transient (docs.aws.amazon.com/sdkref: retry behavior).
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
            | "RequestTimeoutException" => About::Temporary,
            _ if self.status >= 500 || self.status == 429 || self.status == 408 => About::Temporary,
            _ => About::Request,
        }
    }

    /// Whether the reason is a rate limit.
    pub fn is_throttling(&self) -> bool {
        self.status == 429
            || ["Thrott", "TooManyRequests", "Exceeded", "SlowDown"].iter().any(|part| self.code.contains(part))
    }
}

impl Failed {
    /// Converts an SDK's error. Parts that could contain a body are dropped.
    pub fn of<E: ProvideErrorMetadata>(error: SdkError<E, HttpResponse>) -> Self {
        match error {
            SdkError::DispatchFailure(failure) => {
                let source = failure.as_connector_error().and_then(std::error::Error::source);
                let error = source.and_then(|source| source.downcast_ref::<ProviderError>());
                Self::Unanswered(error.map_or_else(unsent, ProviderError::once_more))
            }
            SdkError::ServiceError(refused) => Self::from_response(refused.raw(), refused.err().meta()),
            SdkError::ResponseError(unread) => Self::from_response(unread.raw(), &ErrorMetadata::default()),
            _ => Self::Unanswered(unsent()),
        }
    }

    fn from_response(response: &HttpResponse, meta: &ErrorMetadata) -> Self {
        let info = response.extension::<ResponseInfo>();
        let peer = info.map_or("AWS", |info| &info.peer).to_owned();
        let status = response.status().as_u16();
        let code = meta.code().unwrap_or_default().to_owned();
        if let Some(error) = not_from_aws(&code, &peer, status) {
            return Self::Unanswered(error);
        }
        let message = meta.message().unwrap_or_default().to_lowercase();
        Self::Refused(Refusal { code, message, status, peer, retry_after: info.and_then(|info| info.retry_after) })
    }
}

/// The error for a refusal without a code, which is not from AWS, but perhaps from a proxy: only its status counts. `None` if the
/// refusal has a code, or its status is temporary, which is handled like AWS's own.
pub fn not_from_aws(code: &str, peer: &str, status: u16) -> Option<ProviderError> {
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

/// The hint if another server than AWS may be at the endpoint.
pub const ENDPOINT: &str = "look at `endpoint` and at the AWS_ENDPOINT_URL variables: is it AWS that answers there?";
