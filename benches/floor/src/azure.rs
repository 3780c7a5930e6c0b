//! Secrets of a Key Vault.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;

use crate::Result;
use crate::single::Store;

/// Reads secrets with a token of Entra ID, so without a challenge request.
pub struct KeyVault(pub String);

impl Store for KeyVault {
    fn request(&self, host: &str, name: &str) -> Result<Request<Full<Bytes>>> {
        Ok(Request::get(format!("/secrets/{name}/?api-version=7.6"))
            .header("host", host)
            .header("authorization", format!("Bearer {}", self.0))
            .body(Full::default())?)
    }

    fn value<'a>(&self, answer: &'a Value) -> Option<&'a str> {
        answer["value"].as_str()
    }
}
