//! A request, which a provider builds part by part.

use bytes::Bytes;
use handfast_core::{ErrorKind, ProviderError, SecretValue};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::wiped::wiped;

/// A request. It has no `Debug`, because a header or the body may be a credential.
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    pub(crate) standby_redirects: bool,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, standby_redirects: false }
    }

    /// A request that another library has built. Any of its headers may contain a credential, so `Debug` shows none of them. They
    /// are not wiped: their memory belongs to that library. An empty body counts as no body.
    pub fn from_parts(method: Method, url: Url, mut headers: HeaderMap, body: SecretValue) -> Self {
        headers.values_mut().for_each(|value| value.set_sensitive(true));
        let body = (!body.is_empty()).then(|| wiped(body));
        Self { method, url, headers, body, standby_redirects: false }
    }

    /// `GET`.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// `POST` with a body.
    pub fn post(url: Url, content_type: &'static str, body: SecretValue) -> Self {
        Self::new(Method::POST, url).body(content_type, body)
    }

    /// Adds a body.
    pub fn body(mut self, content_type: &'static str, body: SecretValue) -> Self {
        // Not `from_static`, which panics if the text is not printable.
        if let Ok(value) = HeaderValue::from_str(content_type) {
            self.headers.insert(CONTENT_TYPE, value);
        }
        self.body = Some(wiped(body));
        self
    }

    /// Adds a header that is not a secret.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, ProviderError> {
        let value =
            HeaderValue::from_str(value).map_err(|_| invalid_header(ErrorKind::Malformed, name, "its value"))?;
        self.headers.insert(header_name(name)?, value);
        Ok(self)
    }

    /// Adds a header that contains a credential. `Debug` never shows it, and it is wiped after its last use.
    pub fn secret_header(mut self, name: &str, value: SecretValue) -> Result<Self, ProviderError> {
        let mut value = HeaderValue::from_maybe_shared(wiped(value)).map_err(|_| {
            invalid_header(ErrorKind::Denied, name, "the credential")
                .hint("look for a line break at the end of the credential")
        })?;
        value.set_sensitive(true);
        self.headers.insert(header_name(name)?, value);
        Ok(self)
    }

    /// Marks a request to a store whose standby servers redirect to the active server. A 307 to the same path and query of
    /// another origin is then [`Unavailable`](ErrorKind::Unavailable), since a standby may become active. It is not followed
    /// either.
    pub fn with_standbys(mut self) -> Self {
        self.standby_redirects = true;
        self
    }

    /// The request for reqwest, made once for each redirect. Headers and body are shared, not copied.
    pub(crate) fn to_reqwest(&self, url: Url) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method.clone(), url);
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = self.body.clone().map(reqwest::Body::from);
        request
    }
}

fn header_name(name: &str) -> Result<HeaderName, ProviderError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid_header(ErrorKind::Malformed, name, "its name"))
}

fn invalid_header(kind: ErrorKind, name: &str, what: &str) -> ProviderError {
    let message = format!("cannot set the header `{}`: {what} has a byte that no header can hold", name.escape_debug());
    ProviderError::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get() -> Request {
        Request::get(Url::parse("https://vault.internal").unwrap())
    }

    #[test]
    fn a_credential_is_never_shown() {
        let request = get().secret_header("x-vault-token", SecretValue::from(b"hvs.pa55".to_vec())).unwrap();
        let shown = format!("{:?} {:?}", request.headers, request.to_reqwest(request.url.clone()));
        assert!(!shown.contains("pa55"), "{shown}");
        assert_eq!(request.headers["x-vault-token"], "hvs.pa55");
    }

    #[test]
    fn headers_of_another_librarys_request_are_never_shown() {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("x-vault-token"), HeaderValue::from_static("pa55"))]);
        let list = Method::from_bytes(b"LIST").unwrap();
        let request = Request::from_parts(list, get().url, headers, SecretValue::from(Vec::new()));
        assert!(!format!("{:?}", request.to_reqwest(request.url.clone())).contains("pa55"));
        assert_eq!(request.headers["x-vault-token"], "pa55");
        assert!(request.body.is_none());
    }

    #[test]
    fn bytes_that_no_header_can_hold_are_errors() {
        for bad in [&b"pa55\n"[..], b"pa55\r\nhost: evil", b"\0pa55", b"\x7fpa55"] {
            let error = get().secret_header("x-vault-token", SecretValue::from(bad.to_vec())).err().unwrap();
            assert_eq!(error.kind, ErrorKind::Denied);
            assert!(!format!("{error:?}").contains("pa55"), "{error:?}");
        }
        assert!(get().header("x", "a\nb").is_err());
        assert!(get().header("a b", "x").is_err());
        assert!(get().header("", "x").is_err());
    }
}
