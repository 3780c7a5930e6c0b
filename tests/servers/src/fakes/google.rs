//! A fake of the Google endpoints that Vault's gcp method uses (`custom_endpoint`), and of the metadata service that issues
//! tokens.
//!
//! Google's own libraries read the address of the metadata service from `GCE_METADATA_HOST`. Vault does too, and gets its own
//! credentials from it.

use std::net::TcpListener;
use std::sync::Arc;

use serde_json::{Value, json};

use super::issuer::{Issuer, now};
use crate::http::{Request, Server, write_answer};

/// The only project, instance and service account.
const PROJECT: &str = "handfast-tests";
const ZONE: &str = "europe-west1-b";
const INSTANCE: &str = "web-0";
const ACCOUNT: &str = "web@handfast-tests.iam.gserviceaccount.com";
const ACCOUNT_ID: &str = "104857600000000000001";

/// The fake, over plain HTTP.
pub struct Google {
    issuer: Arc<Issuer>,
    server: Server,
}

impl Google {
    /// Starts the fake on a free port.
    pub fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").expect("there is a free port"))
    }

    /// Starts the fake on a listener of the caller, such as the metadata service's own address in the test's own network.
    pub fn serve(listener: TcpListener) -> Self {
        let issuer = Arc::new(Issuer::new("https://accounts.google.com"));
        let knows = issuer.clone();
        let server = Server::serve(listener, None, move |request, stream| {
            let (status, body) = answer(request, &knows);
            let kind = if body.starts_with('{') { "application/json" } else { "application/text" };
            write_answer(stream, status, &[("metadata-flavor", "Google"), ("content-type", kind)], body.as_bytes())
        });
        Self { issuer, server }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// The value of `GCE_METADATA_HOST`: `127.0.0.1:PORT`.
    pub fn metadata_host(&self) -> String {
        format!("127.0.0.1:{}", self.server.port())
    }

    /// The service account in the tokens.
    pub fn account(&self) -> &'static str {
        ACCOUNT
    }

    /// The project of the service account.
    pub fn project(&self) -> &'static str {
        PROJECT
    }

    /// A token as the metadata service would issue it, without a request.
    pub fn token(&self, audience: &str) -> String {
        identity_token(&self.issuer, audience, true)
    }

    /// The requests so far, including those of Vault.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }
}

fn identity_token(issuer: &Issuer, audience: &str, full: bool) -> String {
    let mut claims =
        json!({ "aud": audience, "azp": ACCOUNT_ID, "email": ACCOUNT, "email_verified": true, "exp": now() + 3600 });
    if full {
        claims["google"] = json!({ "compute_engine": {
            "instance_creation_timestamp": 1_700_000_000, "instance_id": "4096", "instance_name": INSTANCE,
            "project_id": PROJECT, "project_number": 42, "zone": ZONE,
        } });
    }
    issuer.token_with(ACCOUNT_ID, audience, claims)
}

fn answer(request: &Request, issuer: &Issuer) -> (u16, String) {
    let json = |value: Value| (200, value.to_string());
    let path = request.path.split('?').next().unwrap_or_default();
    if let Some(rest) = path.strip_prefix("/computeMetadata/v1/") {
        return metadata(request, rest, issuer);
    }
    let certificates = || json(json!({ issuer.key_id(): issuer.certificate() }));
    match path.trim_start_matches('/') {
        "oauth2/v1/certs" => certificates(),
        path if path.starts_with("service_accounts/v1/metadata/x509/") => certificates(),
        path if path.starts_with("v1/projects/") && path.contains("/serviceAccounts/") => {
            let known = [ACCOUNT, ACCOUNT_ID].iter().any(|name| path.ends_with(name));
            if !known {
                return missing();
            }
            json(json!({
                "name": format!("projects/{PROJECT}/serviceAccounts/{ACCOUNT}"),
                "projectId": PROJECT, "uniqueId": ACCOUNT_ID, "email": ACCOUNT,
            }))
        }
        path if path.ends_with(&format!("projects/{PROJECT}/zones/{ZONE}/instances/{INSTANCE}")) => json(json!({
            "id": "4096", "name": INSTANCE, "status": "RUNNING", "creationTimestamp": "2023-11-14T22:13:20.000+00:00",
            "zone": format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/{ZONE}"),
            "labels": { "app": "web" },
        })),
        _ => missing(),
    }
}

fn missing() -> (u16, String) {
    (404, json!({ "error": { "code": 404, "message": "Not found.", "status": "NOT_FOUND" } }).to_string())
}

/// <https://cloud.google.com/compute/docs/metadata/overview>
fn metadata(request: &Request, path: &str, issuer: &Issuer) -> (u16, String) {
    if request.header("metadata-flavor") != Some("Google") || request.header("x-forwarded-for").is_some() {
        return (403, "Missing Metadata-Flavor:Google header.".to_owned());
    }
    let (account, what) = match path.strip_prefix("instance/service-accounts/").and_then(|rest| rest.split_once('/')) {
        Some(("default" | ACCOUNT, what)) => (true, what),
        Some(_) => return missing(),
        None => (false, path),
    };
    match what {
        "project/project-id" => (200, PROJECT.to_owned()),
        "token" if account => {
            let token = json!({ "access_token": "ya29.of-the-tests", "expires_in": 3599, "token_type": "Bearer" });
            (200, token.to_string())
        }
        "identity" if account => match request.query("audience").map(decoded) {
            Some(audience) => (200, identity_token(issuer, &audience, request.query("format") == Some("full"))),
            None => (400, "non-empty audience parameter required".to_owned()),
        },
        _ => missing(),
    }
}

/// Decodes the percent-encoding of a query's value.
pub(super) fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().replace('+', " ").into_bytes();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        bytes.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
        bytes.extend_from_slice(rest.replace('+', " ").as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
