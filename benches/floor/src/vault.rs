//! Secrets of Vault's KV 2 mounts.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;

use crate::Result;
use crate::single::Store;

/// Reads secrets with a token.
pub struct Vault(pub String);

impl Store for Vault {
    fn request(&self, host: &str, path: &str) -> Result<Request<Full<Bytes>>> {
        Ok(Request::get(format!("/v1/{path}"))
            .header("host", host)
            .header("x-vault-token", &self.0)
            .body(Full::default())?)
    }

    fn value<'a>(&self, answer: &'a Value) -> Option<&'a str> {
        answer["data"]["data"]["value"].as_str()
    }
}
