//! Vault itself: its start, and its API as root.

mod agent;
mod engines;
mod logins;
mod stored;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

pub use agent::Agent;
pub use logins::{AppRole, ROLE};
pub use stored::Pair;

use crate::client::Client;
use crate::directory::Directory;
use crate::fakes::Google;
use crate::process::{Process, free_port};
use crate::random;
use crate::requirements::{built, require};

/// A Vault server of the tests.
pub struct Vault {
    process: Process,
    address: String,
    ca_file: PathBuf,
    client: Client,
    root_token: String,
    unseal_key: Option<String>,
    google: Google,
}

impl Vault {
    /// Starts a server in development mode: unsealed, in memory, over TLS with its own authority, with KV 2 at `secret/`.
    pub fn start() -> Option<Self> {
        let program = program()?;
        let directory = Directory::new();
        let port = free_port();
        let root_token = random("root-");
        let (listen, token) =
            (format!("-dev-listen-address=127.0.0.1:{port}"), format!("-dev-root-token-id={root_token}"));
        let certificates = format!("-dev-tls-cert-dir={}", directory.path().display());
        let command = [&*program, "server", "-dev", "-dev-tls", "-dev-no-store-token", &certificates, &listen, &token];
        // Vault's gcp method gets its own credentials from the metadata service, and reads this service's address from the
        // environment.
        let google = Google::start();
        let environment = [("GCE_METADATA_HOST", &*google.metadata_host())];
        let mut process = Process::start("vault", directory, &command, &environment);
        let ca_file = process.directory().join("vault-ca.pem");
        let address = format!("https://127.0.0.1:{port}");
        let health = format!("{address}/v1/secret/config");
        let client = process.wait_for(|| {
            let client = Client::trusting(&fs::read_to_string(&ca_file).ok().filter(|pem| pem.ends_with("-----\n"))?);
            // Do not ask `sys/health`: KV 2 upgrades its mount for a moment after the server is up, and refuses requests
            // meanwhile.
            let answer = client.send("GET", &health, &[("x-vault-token", &root_token)], b"").ok()?;
            (answer.status == 200).then_some(client)
        });
        Some(Self { process, address, ca_file, client, root_token, unseal_key: None, google })
    }

    /// The server in development mode that all tests of this process share, each with its own mounts: a server takes a second
    /// and 150 MiB.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Vault>> = OnceLock::new();
        // Call it first for its message, which every test must print.
        program()?;
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// `https://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The certificate of the server's authority.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The root token; empty before the initialisation.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// The fake of Google that this server uses.
    pub fn google(&self) -> &Google {
        &self.google
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends a request as root: `vault.api("GET", "secret/data/db", json!(null))`. `null` means no body, in the request and in
    /// the answer.
    pub fn api(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.api_as(&self.root_token, method, path, body)
    }

    /// Sends a request with a token, or without a token if it is empty.
    pub fn api_as(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let headers = [("x-vault-token", token)];
        self.api_with(&self.client, if token.is_empty() { &[] } else { &headers }, method, path, body)
    }

    /// Sends a request with headers and a client (`Client::with_identity`) of the test.
    pub fn api_with(
        &self,
        client: &Client,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let url = format!("{}/v1/{path}", self.address);
        let answer =
            client.send(method, &url, headers, &body).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        (answer.status, answer.json())
    }

    /// Sends a request as root that must succeed. Returns the answer.
    pub fn must(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.api(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// Logs in with the plain API. The login must succeed. Returns the whole answer, with `auth.client_token`.
    pub fn must_log_in(&self, mount: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.api_as("", "POST", &format!("auth/{mount}/{path}"), body);
        assert!(status == 200 && answer["auth"]["client_token"].is_string(), "{mount}/{path}: {status} {answer}");
        answer
    }
}

fn program() -> Option<String> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PROGRAM.get_or_init(|| built("vault"));
    require(found.is_some(), "vault (tests/servers/build vault)");
    found.as_ref().map(|path| path.display().to_string())
}
