//! A fake of ours: Azure's metadata service, as virtual machines (IMDS) and App Service have it. Vault's azure plugin cannot be
//! told where its authority is, so nobody but a test looks at the tokens.

use std::net::TcpListener;
use std::sync::Arc;

use serde_json::{Value, json};

use super::google::decoded;
use super::issuer::{Issuer, now};
use crate::http::{Request, Server};
use crate::random;

/// The metadata service, over plain HTTP.
pub struct AzureMetadata {
    issuer: Arc<Issuer>,
    header: String,
    server: Server,
}

impl AzureMetadata {
    /// A new one on a free port, for what can be told its address (`IDENTITY_ENDPOINT`).
    pub fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").expect("there is a free port"))
    }

    /// The same on a listener of the caller's: 169.254.169.254:80 in a network of the test's own ([`crate::network`]).
    pub fn serve(listener: TcpListener) -> Self {
        let issuer = Arc::new(Issuer::new("https://sts.windows.net/11111111-2222-3333-4444-555555555555/"));
        let header = random("");
        let (knows, expected) = (issuer.clone(), header.clone());
        let server = Server::json(listener, None, move |request| answer(request, &knows, &expected));
        Self { issuer, header, server }
    }

    /// App Service's variables, `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("IDENTITY_ENDPOINT", format!("{}/msi/token", self.server.address())),
            ("IDENTITY_HEADER", self.header.clone()),
        ]
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// The resource that a token of its is for.
    pub fn audience_of(&self, token: &str) -> Option<String> {
        self.issuer.verify(token).and_then(|claims| Some(claims["aud"][0].as_str()?.to_owned()))
    }
}

fn answer(request: &Request, issuer: &Issuer, header: &str) -> (u16, Value) {
    let refused = |why: &str| (400, json!({ "error": "invalid_request", "error_description": why }));
    let path = request.path.split('?').next().unwrap_or_default();
    match path {
        "/msi/token" if request.header("x-identity-header") != Some(header) => return (401, json!({})),
        "/msi/token" => {}
        _ if request.header("metadata") != Some("true") => {
            return refused("Required metadata header not specified");
        }
        _ => {}
    }
    if request.query("api-version").is_none() {
        return refused("Required query variable 'api-version' is missing");
    }
    match path {
        "/msi/token" | "/metadata/identity/oauth2/token" => {
            let Some(resource) = request.query("resource").map(decoded) else {
                return refused("Required query variable 'resource' is missing");
            };
            let token = issuer.token("66666666-7777-8888-9999-000000000000", &resource);
            // Numbers as text, as the real ones have them.
            let (valid, end) = ("600", (now() + 600).to_string());
            (
                200,
                json!({
                    "access_token": token, "client_id": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "expires_in": valid,
                    "expires_on": end, "resource": resource, "token_type": "Bearer",
                }),
            )
        }
        "/metadata/instance" => (
            200,
            json!({ "compute": {
                "name": "web-0", "resourceGroupName": "tests", "vmScaleSetName": "",
                "subscriptionId": "12345678-1234-1234-1234-123456789012",
            } }),
        ),
        _ => (404, json!({ "error": "not_found" })),
    }
}
