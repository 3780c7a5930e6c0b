//! A fake of Azure's metadata service, for virtual machines (IMDS) and App Service. Vault's azure plugin has a fixed authority,
//! so only the tests check the tokens.

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
    /// Starts the service on a free port, for clients whose address can be set (`IDENTITY_ENDPOINT`).
    pub fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").expect("there is a free port"))
    }

    /// Starts the service on a listener of the caller: 169.254.169.254:80 in the test's own network ([`crate::network`]).
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

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// The resource for which a token is valid.
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
            // The real services also return numbers as text.
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
