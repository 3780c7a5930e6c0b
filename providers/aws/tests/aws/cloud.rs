//! A test server for responses that moto does not send. A test chooses the responses, as AWS documents them.

use std::sync::Mutex;

use handfast_core::{ProviderError, Table};
use handfast_testkit::{Instance, Outside, Variables, canary, run};
use handfast_testservers::{Authority, Directory, REGION, Request, Server, write_answer};
use serde_json::{Value, json};

/// A response: its status, its additional headers, its body.
pub type StoreResponse = (u16, Vec<(&'static str, String)>, Value);

/// A store and STS at one address. Each sends its own responses in turn, and repeats the last one.
pub struct Aws {
    pub server: Server,
    pub files: Directory,
    pub session_token: String,
}

impl Aws {
    /// A store with these responses, and an STS that gets no request.
    pub fn with_store(answers: Vec<StoreResponse>) -> Self {
        Self::with_sts(answers, vec![(500, String::new())])
    }

    /// The same with responses of STS, each a status and a body.
    pub fn with_sts(store: Vec<StoreResponse>, sts: Vec<(u16, String)>) -> Self {
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let (store, sts) = (Mutex::new(store), Mutex::new(sts));
        let server = Server::start(Some(&authority.server()), move |request, stream| {
            let (status, headers, body) = match request.header("x-amz-target") {
                Some(_) => {
                    let (status, headers, body) = next(&store);
                    (status, headers, body.to_string())
                }
                None => {
                    let (status, body) = next(&sts);
                    (status, Vec::new(), body)
                }
            };
            let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            headers.push(("content-type", "application/x-amz-json-1.1"));
            write_answer(stream, status, &headers, body.as_bytes())
        });
        Self { server, files, session_token: canary() }
    }

    /// The environment for this server, without keys.
    pub fn variables(&self) -> Variables {
        Variables::default()
            .with("AWS_ENDPOINT_URL", &self.server.address())
            .with("AWS_CA_BUNDLE", &self.files.file("ca.pem"))
            .with("AWS_REGION", REGION)
            .with("AWS_EC2_METADATA_DISABLED", "true")
    }

    /// The same with temporary keys.
    pub fn with_keys(&self) -> Variables {
        self.variables()
            .with_credential("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE")
            .with_credential("AWS_SECRET_ACCESS_KEY", "secret")
            .with_credential("AWS_SESSION_TOKEN", &self.session_token)
    }

    /// An instance with keys.
    pub fn instance(&self) -> Instance {
        instance(Table::default(), self.with_keys())
    }

    /// The error of a fetch, and the number of requests.
    pub fn error(&self, reference: &str) -> (ProviderError, usize) {
        let error = run(async { self.instance().error(reference).await });
        assert!(!format!("{error:?}").contains(&self.session_token), "{error:?}");
        (error, self.server.requests().len())
    }

    /// The requests to the store, in order.
    pub fn store_requests(&self) -> Vec<Request> {
        let requests = self.server.requests().into_iter();
        requests.filter(|request| request.header("x-amz-target").is_some()).collect()
    }

    /// The requests to STS, in order, each with its fields.
    pub fn sts_requests(&self) -> Vec<(Request, Vec<String>)> {
        let requests = self.server.requests().into_iter().filter(|request| request.header("x-amz-target").is_none());
        requests
            .map(|request| {
                let body = String::from_utf8(request.body.clone()).expect("a form is text");
                (request, body.split('&').map(str::to_owned).collect())
            })
            .collect()
    }
}

/// The provider with these settings and this environment.
pub fn instance(settings: Table, variables: Variables) -> Instance {
    Instance::from_settings(&handfast_aws::DEFINITION, settings, Outside { variables, ..Outside::default() })
}

/// The error of a fetch with these settings and variables.
pub fn error(settings: Table, variables: Variables) -> ProviderError {
    run(async { instance(settings, variables).error("aws:sm/web/db").await })
}

/// The whole text of an error: the kind, the message, and the hint after a `|`, with `PORT` for each local port.
pub fn error_text(error: &ProviderError) -> String {
    let text = format!("{:?}: {error} | {}", error.kind, error.hint.as_deref().unwrap_or("no hint"));
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "127.0.0.1:PORT" + part.trim_start_matches(|digit: char| digit.is_ascii_digit())
    })
}

/// A store's refusal.
pub fn refusal(code: &str, message: &str) -> StoreResponse {
    (400, Vec::new(), json!({ "__type": format!("com.amazonaws.service#{code}"), "Message": message }))
}

/// A secret of Secrets Manager.
pub fn secret(value: &str) -> StoreResponse {
    (200, Vec::new(), json!({ "ARN": "arn", "Name": "web/db", "VersionId": "v", "SecretString": value }))
}

/// STS's response with a role's keys, with this id.
pub fn keys(id: &str) -> (u16, String) {
    let keys = format!(
        "<Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>secret of {id}</SecretAccessKey>\
         <SessionToken>token-of-{id}</SessionToken><Expiration>2026-01-01T01:00:00Z</Expiration></Credentials>"
    );
    let body = format!("<AssumeRoleResponse><AssumeRoleResult>{keys}</AssumeRoleResult></AssumeRoleResponse>");
    (200, body)
}

/// STS's refusal.
pub fn sts_refusal(status: u16, code: &str, message: &str) -> (u16, String) {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    (status, format!("<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"))
}

fn next<T: Clone>(answers: &Mutex<Vec<T>>) -> T {
    let mut answers = answers.lock().expect("nobody panics with it");
    if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
}
