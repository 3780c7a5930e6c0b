//! Tokens that expire while `watch` runs, and credential files that change meanwhile. Entra ID, the vault and the metadata
//! service are test servers; a test chooses the credentials and tokens that they accept.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_azure::DEFINITION;
use handfast_core::{ErrorKind, Table, Value};
use handfast_testkit::{Instance, Outside, TestClock, Variables, run, table, text};
use handfast_testservers::{Authority, Directory, Server, TENANT, write_answer};
use serde_json::json;

use crate::support::assert_text;

/// The credential and tokens that the servers accept now.
#[derive(Default)]
struct Accepted {
    /// The credential in a request for a token.
    proof: String,
    /// The tokens that the vault accepts. Entra ID issues the last one.
    tokens: Vec<String>,
    /// Whether the metadata service is busy.
    is_busy: bool,
}

struct Azure {
    server: Server,
    metadata: Server,
    accepted: Arc<Mutex<Accepted>>,
    files: Directory,
}

impl Azure {
    fn start() -> Self {
        let (authority, files, accepted) = (Authority::new(), Directory::new(), Arc::<Mutex<Accepted>>::default());
        files.write("ca.pem", authority.pem());
        let shared = accepted.clone();
        let server = Server::start(Some(&authority.server()), move |request, stream| {
            let accepted = shared.lock().expect("nobody panics with it");
            let json = ("content-type", "application/json");
            if request.path.contains("/oauth2/v2.0/token") {
                let (status, answer) = match String::from_utf8_lossy(&request.body).contains(&accepted.proof) {
                    true => (
                        200,
                        json!({ "token_type": "Bearer", "expires_in": 3600, "access_token": accepted.tokens.last() }),
                    ),
                    false => (401, json!({ "error": "invalid_client", "error_codes": [7_000_215] })),
                };
                return write_answer(stream, status, &[json], answer.to_string().as_bytes());
            }
            let bearer = request.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
            if bearer.is_some_and(|bearer| accepted.tokens.iter().any(|token| token == bearer)) {
                let secret =
                    json!({ "value": "x", "id": "https://main.vault.azure.net/secrets/s/1", "attributes": {} });
                return write_answer(stream, 200, &[json], secret.to_string().as_bytes());
            }
            let host = request.header("host").unwrap_or_default();
            let challenge =
                format!("Bearer authorization=\"https://{host}/{TENANT}\", resource=\"https://vault.azure.net\"");
            let refusal = json!({ "error": { "code": "Unauthorized", "message": "[TokenExpired] Error validating token: 'IDX10223'." } });
            write_answer(stream, 401, &[json, ("www-authenticate", &challenge)], refusal.to_string().as_bytes())
        });
        let shared = accepted.clone();
        let metadata = Server::start(None, move |request, stream| {
            let accepted = shared.lock().expect("nobody panics with it");
            let json = [("content-type", "application/json")];
            match () {
                () if accepted.is_busy => write_answer(stream, 503, &json, b"{}"),
                () if request.header("metadata").is_none() => write_answer(stream, 400, &json, b"{}"),
                () => {
                    let answer = json!({ "access_token": accepted.tokens.last(), "expires_on": "4102444800" });
                    write_answer(stream, 200, &json, answer.to_string().as_bytes())
                }
            }
        });
        let azure = Self { server, metadata, accepted, files };
        azure.accept("proof-1", &["token-1"]);
        azure
    }

    /// Accepts only this credential and these tokens from now on.
    fn accept(&self, proof: &str, tokens: &[&str]) {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        *self.accepted.lock().expect("nobody panics with it") =
            Accepted { proof: proof.to_owned(), tokens, is_busy: false };
    }

    fn set_busy(&self) {
        self.accepted.lock().expect("nobody panics with it").is_busy = true;
    }

    /// An instance with this `auth`, or with the machine's identity if it is empty.
    fn instance(&self, auth: &[(&'static str, String)], clock: &TestClock) -> Instance {
        let mut settings = table([
            ("vault", text(&self.server.address())),
            ("authority", text(&self.server.address())),
            ("ca_file", text(&self.files.file("ca.pem"))),
            ("endpoint_suffix_check", Value::Boolean(false)),
        ]);
        let mut keys = Table::default();
        auth.iter().for_each(|(key, value)| keys.merge(table([(*key, text(value))])));
        if !auth.is_empty() {
            settings.merge(table([("auth", Value::Table(keys))]));
        }
        let variables = Variables::default()
            .with("AZURE_TENANT_ID", TENANT)
            .with("AZURE_CLIENT_ID", "web")
            .with("AZURE_POD_IDENTITY_AUTHORITY_HOST", &self.metadata.address());
        Instance::from_settings(
            &DEFINITION,
            settings,
            Outside { variables, clock: clock.clone(), ..Outside::default() },
        )
    }

    /// An instance that logs in with the credential in the file `proof`.
    fn by_file(&self, method: &str, key: &'static str, clock: &TestClock) -> Instance {
        self.instance(&[("method", method.to_owned()), (key, self.files.file("proof"))], clock)
    }

    /// The same, after a read with the first proof.
    async fn first_read(&self, method: &str, key: &'static str, clock: &TestClock) -> Instance {
        self.files.write("proof", "proof-1\n");
        let instance = self.by_file(method, key, clock);
        assert_eq!(instance.value("azure:s").await, b"x");
        instance
    }

    fn token_requests(&self) -> usize {
        self.server.requests().iter().filter(|request| request.path.contains("/oauth2/v2.0/token")).count()
    }
}

/// The methods with a credential in a file, each with the key that names the file.
const BY_FILE: [(&str, &str); 2] = [("workload-identity", "token_file"), ("client-secret", "client_secret_file")];

#[test]
fn an_expired_token_is_replaced_with_the_files_new_credential() {
    for (method, key) in BY_FILE {
        let (azure, clock) = (Azure::start(), TestClock::default());
        run(async {
            let instance = azure.first_read(method, key, &clock).await;
            azure.accept("proof-2", &["token-1", "token-2"]);
            azure.files.write("proof", "proof-2\n");
            assert_eq!((instance.value("azure:s").await, azure.token_requests()), (b"x".to_vec(), 1), "{method}");
            // Longer than a token is valid. (The SDK uses the machine's clock, and sends the old token.)
            clock.advance(Duration::from_secs(10_000 * 24 * 3600));
            assert_eq!((instance.value("azure:s").await, azure.token_requests()), (b"x".to_vec(), 2), "{method}");
        });
    }
}

#[test]
fn a_token_that_a_vault_refuses_is_replaced_once() {
    for (method, key) in BY_FILE {
        let (azure, clock) = (Azure::start(), TestClock::default());
        run(async {
            let instance = azure.first_read(method, key, &clock).await;
            azure.accept("proof-2", &["token-2"]);
            azure.files.write("proof", "proof-2\n");
            assert_eq!(instance.value("azure:s").await, b"x", "{method}");
            assert_eq!((instance.value("azure:s").await, azure.token_requests()), (b"x".to_vec(), 2), "{method}");
            // If there is no other token, the error says why.
            azure.accept("proof-3", &["token-3"]);
            assert_text(&instance.error("azure:s").await, ErrorKind::Denied, "the client secret is wrong", "");
        });
    }
}

#[test]
fn a_token_file_is_read_again_if_the_vault_refuses_the_token() {
    let (azure, clock) = (Azure::start(), TestClock::default());
    run(async {
        azure.files.write("proof", "token-1\n");
        let instance = azure.by_file("token-file", "token_file", &clock);
        assert_eq!(instance.value("azure:s").await, b"x");
        azure.accept("", &["token-2"]);
        // The file has no new token yet, so no request is repeated.
        let before = azure.server.requests().len();
        assert_text(&instance.error("azure:s").await, ErrorKind::Denied, "the vault does not take the token", "");
        assert_eq!(azure.server.requests().len(), before + 1);
        azure.files.write("proof", "token-2\n");
        assert_eq!(instance.value("azure:s").await, b"x");
    });
}

#[test]
fn after_a_token_from_the_machine_a_busy_service_is_temporary() {
    let (azure, clock) = (Azure::start(), TestClock::default());
    run(async {
        let instance = azure.instance(&[], &clock);
        assert_eq!(instance.value("azure:s").await, b"x");
        azure.accept("", &["token-2"]);
        azure.set_busy();
        assert_text(&instance.error("azure:s").await, ErrorKind::Unavailable, "answered 503", "");
        azure.accept("", &["token-2"]);
        assert_eq!(instance.value("azure:s").await, b"x");
    });
}
