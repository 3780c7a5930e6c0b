//! A response, read as a whole and within a size limit.

use std::time::{Duration, SystemTime};

use handfast_core::{ErrorKind, ProviderError, SecretValue};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING};
use reqwest::{Method, StatusCode};
use zeroize::Zeroizing;

use crate::failure::{Peer, SCHEME, Stage};

/// The longest wait that is accepted from a store. A longer one counts as this.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A response with its whole body. It has no `Debug`, because a header or the body may be a secret. The body is wiped when
/// dropped. The buffers of the TLS and HTTP libraries are not wiped: copies stay in the worker's memory until the worker ends.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: SecretValue,
    peer: String,
    retry_after: Option<Duration>,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// The server that responded: its origin or its Unix socket.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// A header, if its value is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body.
    pub fn body(&self) -> &SecretValue {
        &self.body
    }

    /// The body, moved out of the response.
    pub fn into_body(self) -> SecretValue {
        self.body
    }

    /// The status, headers and body, for another library.
    pub fn into_parts(self) -> (StatusCode, HeaderMap, SecretValue) {
        (self.status, self.headers, self.body)
    }

    /// How long the store requires a client to wait: `Retry-After` in seconds or as a date, at most five minutes. `None` for any
    /// other value, and for no wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The failure for a status that has no special meaning in the store. `what` names the failed attempt: ``cannot read `kv/web`
    /// ``.
    pub fn failure(&self, what: &str) -> ProviderError {
        let kind = match self.status() {
            401 | 403 | 407 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            // The server does not support the method, or the version of HTTP. A retry would not help.
            501 | 505 => ErrorKind::Malformed,
            408 | 429 | 500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Malformed,
        };
        let reason = self.status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        let message = format!("{what}: {} answered {}{reason}", self.peer, self.status());
        ProviderError { retry_after: self.retry_after, ..ProviderError::new(kind, message) }
    }

    /// Reads the body of a response.
    pub(crate) async fn read(
        mut answer: reqwest::Response,
        method: &Method,
        peer: &Peer<'_>,
        now: SystemTime,
    ) -> Result<Self, ProviderError> {
        let limit = peer.options.response_limit;
        let too_large = || peer.failure(ErrorKind::Malformed, &format!("the answer is larger than {limit} bytes"));
        if ends_with_connection(&answer, method) {
            // Servers in Go send this unencrypted response to a client that does not use TLS.
            if answer.status() == StatusCode::BAD_REQUEST {
                let why = "it answered 400 to plain HTTP, as a port for TLS does";
                return Err(peer.failure(ErrorKind::Untrusted, why).hint(SCHEME));
            }
            let why = "the answer has no length, so a part of it could pass for the whole";
            return Err(peer.failure(ErrorKind::Malformed, why));
        }
        let announced = answer.content_length().unwrap_or(0);
        if announced > limit as u64 && method != Method::HEAD {
            return Err(too_large());
        }
        // The announced length may be wrong, so it must not make the client allocate much memory.
        const LARGEST_FIRST: usize = 64 << 10;
        let mut body =
            Zeroizing::new(Vec::with_capacity(usize::try_from(announced).unwrap_or(LARGEST_FIRST).min(LARGEST_FIRST)));
        while let Some(chunk) = answer.chunk().await.map_err(|error| peer.explain(&error, Stage::Body))? {
            if chunk.len() > limit - body.len() {
                return Err(too_large());
            }
            append(&mut body, &chunk);
        }
        Ok(Self {
            status: answer.status(),
            retry_after: answer
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| parse_retry_after(value.to_str().ok()?, now)),
            headers: std::mem::take(answer.headers_mut()),
            body: SecretValue::from(body),
            peer: peer.name.clone(),
        })
    }
}

/// Whether only the end of an unencrypted connection marks the end of the body. Anybody on the network path could end such a
/// connection early; TLS authenticates its end.
fn ends_with_connection(answer: &reqwest::Response, method: &Method) -> bool {
    let headers = answer.headers();
    answer.url().scheme() == "http"
        && !headers.contains_key(CONTENT_LENGTH)
        && !headers.contains_key(TRANSFER_ENCODING)
        && method != Method::HEAD
        && !matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Appends without leaving a copy in freed memory, as a vector does when it grows.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let needed = body.len() + chunk.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(body.capacity() * 2)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        // A number that is too large for the type means a long wait.
        text.parse().map_or(LONGEST_WAIT, Duration::from_secs)
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?
    };
    Some(wait.min(LONGEST_WAIT)).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after() {
        // 1994-11-06 08:49:00 UTC
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_740);
        for (text, seconds) in [
            ("1", Some(1)),
            (" 120 ", Some(120)),
            ("301", Some(300)),
            ("1000000000000000000", Some(300)),
            ("99999999999999999999999999", Some(300)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(300)),
            ("0", None),
            ("Sun, 06 Nov 1994 08:48:00 GMT", None),
            ("-1", None),
            ("+1", None),
            ("1e18", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(parse_retry_after(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn appending_keeps_every_byte() {
        let mut body = Zeroizing::new(Vec::new());
        let mut expected = Vec::new();
        for length in [0, 1, 100, 3, 70_000, 5] {
            let chunk = vec![length as u8; length];
            append(&mut body, &chunk);
            expected.extend_from_slice(&chunk);
        }
        assert_eq!(*body, expected);
    }
}
