//! An answer, whole and counted.

use std::time::{Duration, SystemTime};

use handfast_core::{ErrorKind, ProviderError, SecretValue};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING};
use reqwest::{Method, StatusCode};
use zeroize::Zeroizing;

use crate::failure::{Peer, SCHEME, Stage};

/// The longest wait that a store is believed to ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// An answer whose body has come whole. It has no `Debug`: a header or the body may be a secret. Dropped, it wipes the body;
/// what TLS and HTTP had in their buffers on the way is wiped by nobody, until the worker's memory goes with the worker.
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

    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Who answered: its origin or its Unix socket.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// A header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body.
    pub fn body(&self) -> &SecretValue {
        &self.body
    }

    /// The body, taken out.
    pub fn into_body(self) -> SecretValue {
        self.body
    }

    /// The answer as another library takes it: status, headers and body.
    pub fn into_parts(self) -> (StatusCode, HeaderMap, SecretValue) {
        (self.status, self.headers, self.body)
    }

    /// How long the store asks to wait: `Retry-After` in seconds or as a date, at most five minutes. What is neither, or
    /// asks for no wait, counts as absent.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The failure that a status stands for where a store gives it no other meaning. `what` is what was attempted:
    /// ``cannot read `kv/web` ``.
    pub fn failure(&self, what: &str) -> ProviderError {
        let kind = match self.status() {
            401 | 403 | 407 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            // It does not know the method, or HTTP's version, and will not learn it.
            501 | 505 => ErrorKind::Malformed,
            408 | 429 | 500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Malformed,
        };
        let reason = self.status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        let message = format!("{what}: {} answered {}{reason}", self.peer, self.status());
        ProviderError { retry_after: self.retry_after, ..ProviderError::new(kind, message) }
    }

    /// Reads the rest of an answer.
    pub(crate) async fn read(
        mut answer: reqwest::Response,
        method: &Method,
        peer: &Peer<'_>,
        now: SystemTime,
    ) -> Result<Self, ProviderError> {
        let limit = peer.options.response_limit;
        let too_large = || peer.failure(ErrorKind::Malformed, &format!("the answer is larger than {limit} bytes"));
        if ends_with_connection(&answer, method) {
            // Go's servers say so in clear text to who speaks no TLS.
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
        // The announced length is only a hint, and never a reason to take much memory.
        const AT_ONCE: usize = 64 << 10;
        let mut body = Zeroizing::new(Vec::with_capacity(usize::try_from(announced).unwrap_or(AT_ONCE).min(AT_ONCE)));
        while let Some(chunk) = answer.chunk().await.map_err(|error| peer.explain(&error, Stage::Body))? {
            if chunk.len() > limit - body.len() {
                return Err(too_large());
            }
            append(&mut body, &chunk);
        }
        Ok(Self {
            status: answer.status(),
            retry_after: answer.headers().get(RETRY_AFTER).and_then(|value| wait(value.to_str().ok()?, now)),
            headers: std::mem::take(answer.headers_mut()),
            body: SecretValue::from(body),
            peer: peer.name.clone(),
        })
    }
}

/// Whether nothing but the connection's end says where the body ends. TLS authenticates that end; without TLS anyone's
/// reset would look like it.
fn ends_with_connection(answer: &reqwest::Response, method: &Method) -> bool {
    let headers = answer.headers();
    answer.url().scheme() == "http"
        && !headers.contains_key(CONTENT_LENGTH)
        && !headers.contains_key(TRANSFER_ENCODING)
        && method != Method::HEAD
        && !matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Appends without leaving a copy behind in freed memory, as a growing vector would.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let needed = body.len() + chunk.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(body.capacity() * 2)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        // More digits than fit are still a number: a long wait.
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
            assert_eq!(wait(text, now), seconds.map(Duration::from_secs), "{text:?}");
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
