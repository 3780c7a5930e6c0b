//! Signature Version 4 of a `POST` request without a query, by the SDK's own signer
//! (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::Url;

/// A request.
pub struct Post<'p> {
    pub url: &'p str,
    /// Its headers without `host`, with names in lower case.
    pub headers: &'p [(&'p str, &'p str)],
    pub body: &'p str,
    pub region: &'p str,
    pub service: &'p str,
}

impl Post<'_> {
    /// Signs the request. Returns all its headers, in order of name.
    pub fn sign(self, keys: &Credentials, time: SystemTime) -> Result<Vec<(String, SecretValue)>, ProviderError> {
        let invalid =
            || ProviderError::new(ErrorKind::Malformed, "cannot sign a request: it cannot be written as HTTP");
        let url = Url::parse(self.url).map_err(|_| invalid())?;
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let headers = || self.headers.iter().copied().chain([("host", host.as_str())]);
        let identity = keys.clone().into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| invalid())?;
        let body = SignableBody::Bytes(self.body.as_bytes());
        let request = SignableRequest::new("POST", self.url, headers(), body).map_err(|_| invalid())?;
        let (signed, _) = sign(request, &parameters.into()).map_err(|_| invalid())?.into_parts();
        let header = |(name, value): (&str, &str)| (name.to_owned(), SecretValue::from(value.as_bytes().to_vec()));
        let mut all: Vec<_> = headers().chain(signed.headers()).map(header).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// Signs with the keys, the time and the host of AWS's published test suite.
    fn authorization(headers: &[(&str, &str)], body: &str, session_token: Option<&str>) -> String {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let keys = Credentials::new("AKIDEXAMPLE", secret, session_token.map(str::to_owned), None, "test");
        let url = "https://example.amazonaws.com/";
        let post = Post { url, headers, body, region: "us-east-1", service: "service" };
        // 2015-08-30T12:36:00Z
        let signed = post.sign(&keys, UNIX_EPOCH + Duration::from_secs(1_440_938_160)).unwrap();
        assert!(signed.is_sorted_by_key(|(name, _)| name.clone()));
        String::from_utf8(signed[0].1.expose().to_vec()).unwrap()
    }

    fn expected(names: &str, signature: &str) -> String {
        let credential = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}")
    }

    #[test]
    fn the_published_vectors() {
        const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeo\
            IYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q\
            6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/o\
            LxBA==";
        for (name, headers, body, token, names, signature) in [
            (
                "post-vanilla",
                &[][..],
                "",
                None,
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-header-value-case",
                &[("my-header1", "VALUE1")],
                "",
                None,
                "host;my-header1;x-amz-date",
                "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
            ),
            (
                "post-x-www-form-urlencoded",
                &[("content-type", "application/x-www-form-urlencoded")],
                "Param1=value1",
                None,
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "post-sts-header-before",
                &[],
                "",
                Some(TOKEN),
                "host;x-amz-date;x-amz-security-token",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ] {
            assert_eq!(authorization(headers, body, token), expected(names, signature), "{name}");
        }
        // Several spaces in a value count as one.
        assert_eq!(authorization(&[("x", " a   b ")], "", None), authorization(&[("x", "a b")], "", None));
    }
}
