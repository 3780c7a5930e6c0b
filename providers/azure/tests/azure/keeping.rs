//! What holds under `watch`: tokens end, and the files that prove who we are get another content meanwhile. Entra ID, the vault and the
//! metadata service are a fake of ours here, which takes what it is told to take.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_azure::DEFINITION;
use handfast_core::{ErrorKind, Table, Value};
use handfast_testkit::{Instance, Outside, TestClock, Variables, run, table, text};
use handfast_testservers::{Authority, Directory, Server, TENANT, write_answer};
use serde_json::json;

use crate::support::says;

/// What is taken now.
#[derive(Default)]
struct Taken {
    /// What stands in a request for a token.
    proof: String,
    /// The tokens that the vault takes; the last one is given.
    tokens: Vec<String>,
    /// Whether the metadata service is busy.
    is_busy: bool,
}

struct Azure {
    server: Server,
    metadata: Server,
    taken: Arc<Mutex<Taken>>,
    files: Directory,
}

impl Azure {
    fn start() -> Self {
        let (authority, files, taken) = (Authority::new(), Directory::new(), Arc::<Mutex<Taken>>::default());
        files.write("ca.pem", authority.pem());
        let knows = taken.clone();
        let server = Server::start(Some(&authority.server()), move |request, stream| {
            let taken = knows.lock().expect("nobody panics with it");
            let json = ("content-type", "application/json");
            if request.path.contains("/oauth2/v2.0/token") {
                let (status, answer) = match String::from_utf8_lossy(&request.body).contains(&taken.proof) {
                    true => (
                        200,
                        json!({ "token_type": "Bearer", "expires_in": 3600, "access_token": taken.tokens.last() }),
                    ),
                    false => (401, json!({ "error": "invalid_client", "error_codes": [7_000_215] })),
                };
                return write_answer(stream, status, &[json], answer.to_string().as_bytes());
            }
            let bearer = request.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
            if bearer.is_some_and(|bearer| taken.tokens.iter().any(|token| token == bearer)) {
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
        let knows = taken.clone();
        let metadata = Server::start(None, move |request, stream| {
            let taken = knows.lock().expect("nobody panics with it");
            let json = [("content-type", "application/json")];
            match () {
                () if taken.is_busy => write_answer(stream, 503, &json, b"{}"),
                () if request.header("metadata").is_none() => write_answer(stream, 400, &json, b"{}"),
                () => {
                    let answer = json!({ "access_token": taken.tokens.last(), "expires_on": "4102444800" });
                    write_answer(stream, 200, &json, answer.to_string().as_bytes())
                }
            }
        });
        let azure = Self { server, metadata, taken, files };
        azure.takes("proof-1", &["token-1"]);
        azure
    }

    /// Takes these, and nothing that it took before.
    fn takes(&self, proof: &str, tokens: &[&str]) {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        *self.taken.lock().expect("nobody panics with it") = Taken { proof: proof.to_owned(), tokens, is_busy: false };
    }

    fn is_busy(&self) {
        self.taken.lock().expect("nobody panics with it").is_busy = true;
    }

    /// An instance that logs in so, or as the machine.
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

    /// An instance that logs in by what stands in the file `proof`.
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

/// The ways whose proof stands in a file, and the key that names it.
const BY_FILE: [(&str, &str); 2] = [("workload-identity", "token_file"), ("client-secret", "client_secret_file")];

#[test]
fn a_token_that_has_ended_is_asked_for_anew_with_what_stands_in_the_file_then() {
    for (method, key) in BY_FILE {
        let (azure, clock) = (Azure::start(), TestClock::default());
        run(async {
            let instance = azure.first_read(method, key, &clock).await;
            azure.takes("proof-2", &["token-1", "token-2"]);
            azure.files.write("proof", "proof-2\n");
            assert_eq!((instance.value("azure:s").await, azure.token_requests()), (b"x".to_vec(), 1), "{method}");
            // Longer than a token lives by any clock. (The SDK looks at the machine's, and shows the old one.)
            clock.advance(Duration::from_secs(10_000 * 24 * 3600));
            assert_eq!((instance.value("azure:s").await, azure.token_requests()), (b"x".to_vec(), 2), "{method}");
        });
    }
}

#[test]
fn a_token_that_a_vault_takes_no_more_is_replaced_once() {
    for (method, key) in BY_FILE {
        let (azure, clock) = (Azure::start(), TestClock::default());
        run(async {
            let instance = azure.first_read(method, key, &clock).await;
            azure.takes("proof-2", &["token-2"]);
            azure.files.write("proof", "proof-2\n");
            assert_eq!(instance.value("azure:s").await, b"x", "{method}");
            assert_eq!((instance.value("azure:s").await, azure.token_requests()), (b"x".to_vec(), 2), "{method}");
            // Where there is no other, what keeps it from us is told.
            azure.takes("proof-3", &["token-3"]);
            says(&instance.error("azure:s").await, ErrorKind::Denied, "the client secret is wrong", "");
        });
    }
}

#[test]
fn a_token_in_a_file_is_read_again_where_the_vault_takes_it_no_more() {
    let (azure, clock) = (Azure::start(), TestClock::default());
    run(async {
        azure.files.write("proof", "token-1\n");
        let instance = azure.by_file("token-file", "token_file", &clock);
        assert_eq!(instance.value("azure:s").await, b"x");
        azure.takes("", &["token-2"]);
        // The file has no other yet: nothing is asked twice.
        let before = azure.server.requests().len();
        says(&instance.error("azure:s").await, ErrorKind::Denied, "the vault does not take the token", "");
        assert_eq!(azure.server.requests().len(), before + 1);
        azure.files.write("proof", "token-2\n");
        assert_eq!(instance.value("azure:s").await, b"x");
    });
}

#[test]
fn a_machine_that_has_given_a_token_is_waited_for_where_it_is_busy_later() {
    let (azure, clock) = (Azure::start(), TestClock::default());
    run(async {
        let instance = azure.instance(&[], &clock);
        assert_eq!(instance.value("azure:s").await, b"x");
        azure.takes("", &["token-2"]);
        azure.is_busy();
        says(&instance.error("azure:s").await, ErrorKind::Unavailable, "answered 503", "");
        azure.takes("", &["token-2"]);
        assert_eq!(instance.value("azure:s").await, b"x");
    });
}
