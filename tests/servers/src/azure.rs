//! A fake of Azure: Key Vaults behind Microsoft's own fake server, Entra ID and managed identities (`azure/` beside this
//! crate).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::authority::Authority;
use crate::client::Client;
use crate::directory::Directory;
use crate::network::LINK_LOCAL;
use crate::process::{Process, free_port};
use crate::random;
use crate::requirements::{built, require};

/// A fake Azure server over TLS. A vault is created by its first request. The vault `main` has the server's own address; every
/// other vault has a host name that begins with the vault's name, such as `web.kv.localhost`.
pub struct Azure {
    process: Process,
    port: u16,
    metadata: String,
    root: String,
    identity_header: String,
    client: Client,
}

/// Azure's own names that the server may answer to, if a test routes them to it: those of Entra ID and of a vault `web`.
pub const AZURES_NAMES: [&str; 2] = ["login.microsoftonline.com", "web.vault.azure.net"];

/// The default tenant of each vault, application and identity of [`Azure`].
pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";

impl Azure {
    /// Starts a server without any content.
    pub fn start() -> Option<Self> {
        let port = free_port();
        Self::at(port, &format!("127.0.0.1:{}", port + 1))
    }

    /// Starts a server at the addresses of the real services, in the test's own network
    /// ([`in_own_network`](crate::in_own_network)): vaults and Entra ID at port 443, the metadata service at its own address.
    pub fn in_this_network() -> Option<Self> {
        Self::at(443, &format!("{LINK_LOCAL}:80"))
    }

    fn at(port: u16, metadata: &str) -> Option<Self> {
        let program = program()?;
        let directory = Directory::new();
        let authority = Authority::new();
        directory.write("ca.pem", authority.pem());
        let own = ["127.0.0.1", "localhost", "main.kv.localhost", "web.kv.localhost"];
        let names = [&own[..], &AZURES_NAMES].concat();
        let (certificate, key) = authority.server_for(&names, (2020, 2099)).write(&directory, "server");
        let listen = format!("127.0.0.1:{port}");
        let (root, identity_header) = (random("root-"), random("header-"));
        let command = [
            &*program,
            "-listen",
            &listen,
            "-metadata",
            metadata,
            "-certificate",
            &certificate,
            "-key",
            &key,
            "-root",
            &root,
            "-identity-header",
            &identity_header,
        ];
        let mut process = Process::start("azure", directory, &command, &[]);
        let client = Client::trusting(&authority.pem());
        let probe = format!("https://{listen}/tests/requests");
        let bearer = format!("Bearer {root}");
        process.wait_for(|| client.send("GET", &probe, &[("authorization", &bearer)], b"").ok());
        Some(Self { process, port, metadata: format!("http://{metadata}"), root, identity_header, client })
    }

    /// `https://127.0.0.1:PORT`: the address of the vault `main`, and of Entra ID.
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate of the server's authority.
    pub fn ca_file(&self) -> PathBuf {
        self.process.directory().join("ca.pem")
    }

    /// The server's directory.
    pub fn directory(&self) -> &Path {
        self.process.directory()
    }

    /// `http://127.0.0.1:PORT`, the address of the metadata service (`AZURE_POD_IDENTITY_AUTHORITY_HOST`).
    pub fn metadata(&self) -> &str {
        &self.metadata
    }

    /// App Service's variables, `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    pub fn app_service(&self) -> [(&'static str, String); 2] {
        [
            ("IDENTITY_ENDPOINT", format!("{}/msi/token", self.metadata)),
            ("IDENTITY_HEADER", self.identity_header.clone()),
        ]
    }

    /// The token with all rights.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Creates an application with a client secret. Returns the id and the secret.
    pub fn application(&self) -> (String, String) {
        let (id, secret) = (random("app-"), random("secret-"));
        self.set_up("application", json!({ "tenant": TENANT, "id": id, "secret": secret }));
        (id, secret)
    }

    /// Sends a request to the server's `/tests/`: `application`, `identity`, `vault?name=NAME`.
    pub fn set_up(&self, what: &str, said: Value) {
        let (status, answer) = self.api("POST", &format!("/tests/{what}"), &said);
        assert_eq!(status, 200, "{what}: {answer}");
    }

    /// Writes a secret of the vault `main`. Returns its version.
    pub fn set(&self, name: &str, value: &str) -> String {
        self.set_with(name, json!({ "value": value }))
    }

    /// Writes a secret with attributes or a content type, in the format of Key Vault's own API.
    pub fn set_with(&self, name: &str, body: Value) -> String {
        let (status, answer) = self.api("PUT", &format!("/secrets/{name}?api-version=7.6"), &body);
        assert_eq!(status, 200, "{name}: {answer}");
        let id = answer["id"].as_str().expect("it has an id");
        id.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Writes a secret of another vault with this host.
    pub fn set_at(&self, host: &str, name: &str, value: &str) {
        let body = json!({ "value": value });
        let (status, answer) = self.api_at(Some(host), "PUT", &format!("/secrets/{name}?api-version=7.6"), &body);
        assert_eq!(status, 200, "{name}: {answer}");
    }

    /// Deletes a secret of the vault `main`. It can be recovered.
    pub fn delete(&self, name: &str) {
        let (status, answer) = self.api("DELETE", &format!("/secrets/{name}?api-version=7.6"), &Value::Null);
        assert_eq!(status, 200, "{name}: {answer}");
    }

    /// The requests so far: method, path with query, host, and whether the request had a token.
    pub fn requests(&self) -> Vec<Value> {
        self.api("GET", "/tests/requests", &Value::Null).1["requests"].as_array().cloned().unwrap_or_default()
    }

    /// The largest number of requests for secrets that the server handled at the same time.
    pub fn most_in_flight(&self) -> u64 {
        self.api("GET", "/tests/requests", &Value::Null).1["mostInFlight"].as_u64().expect("it counts them")
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.api("DELETE", "/tests/requests", &Value::Null);
    }

    /// Sends a request with the token that has all rights.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.api_at(None, method, path, body)
    }

    fn api_at(&self, host: Option<&str>, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let url = format!("{}{path}", self.address());
        let bearer = format!("Bearer {}", self.root);
        let mut headers = vec![("authorization", &*bearer), ("content-type", "application/json")];
        headers.extend(host.map(|host| ("host", host)));
        let answer =
            self.client.send(method, &url, &headers, &body).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        (answer.status, answer.json())
    }
}

fn program() -> Option<String> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PROGRAM.get_or_init(|| built("azure"));
    require(found.is_some(), "azure (tests/servers/build azure)");
    found.as_ref().map(|path| path.display().to_string())
}

/// A Python with Microsoft's own clients, and a parser of Bicep.
pub fn microsofts_clients() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| built("azure-python"));
    require(found.is_some(), "azure-python (tests/servers/build azure-python)");
    found.clone()
}
