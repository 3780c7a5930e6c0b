//! Each login method, with the real server, and the refusals of each.

mod approle;
mod cert;
mod clouds;
mod settings;
mod tokens;
mod traps;
mod users;
mod web_tokens;

use std::net::TcpListener;

use handfast_core::{ErrorKind, ProviderError, Table, Value};
use handfast_testkit::{Instance, Outside, Variables, assert_listed, configure, run, table, text};
use handfast_testservers::{Server, Vault, random};
use handfast_vault::DEFINITION;
use serde_json::json;

use crate::support::variables;

/// A secret with its own policy. A login that can read it has this policy.
pub struct Guarded {
    pub vault: &'static Vault,
    pub policy: String,
    mount: String,
}

const PASSWORD: &str = "only-after-a-login";

impl Guarded {
    pub fn new() -> Option<Self> {
        let vault = Vault::shared()?;
        let (mount, policy) = (random("kv-"), random("policy-"));
        vault.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": "kv", "options": { "version": "1" } }));
        vault.must("POST", &format!("{mount}/db"), json!({ "password": PASSWORD }));
        vault.policy(&policy, &format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"));
        Some(Self { vault, policy, mount })
    }

    /// The policies that allow to read it.
    pub fn policies(&self) -> [&str; 1] {
        [&self.policy]
    }

    pub fn reference(&self) -> String {
        format!("vault:{}/db", self.mount)
    }

    /// Logs in with these keys of `auth`, and reads the secret.
    pub fn logs_in<const N: usize>(&self, auth: [(&str, &str); N]) {
        self.logs_in_with(settings(auth), Outside { variables: variables(self.vault), ..Outside::default() });
    }

    /// The same with any settings and environment.
    pub fn logs_in_with(&self, settings: Table, outside: Outside) {
        let value =
            run(async { Instance::from_settings(&DEFINITION, settings, outside).value(&self.reference()).await });
        assert_eq!(value, json!({ "password": PASSWORD }).to_string().as_bytes());
    }

    /// The error of a login with these keys of `auth`, whose exit code must be 77.
    pub fn refuses<const N: usize>(&self, auth: [(&str, &str); N]) -> ProviderError {
        self.refuses_with(settings(auth), variables(self.vault))
    }

    /// The same with any settings and variables.
    pub fn refuses_with(&self, settings: Table, variables: Variables) -> ProviderError {
        let error =
            run(async { fetch(settings, Outside { variables, ..Outside::default() }, &self.reference()).await });
        assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
        error
    }

    /// Asserts that the login fails, and that its error contains these texts.
    pub fn fails_with<const N: usize>(&self, auth: [(&str, &str); N], texts: &[&str]) {
        assert_text(&self.refuses(auth), texts);
    }
}

/// `[providers.vault] auth`.
pub fn settings<const N: usize>(auth: [(&str, &str); N]) -> Table {
    let value = |key: &str, value: &str| if key == "wrapped" { Value::Boolean(value == "true") } else { text(value) };
    table([("auth", Value::Table(table(auth.map(|(key, written)| (key, value(key, written))))))])
}

/// The error of a fetch, which must fail, at any step.
pub async fn fetch(settings: Table, outside: Outside, reference: &str) -> ProviderError {
    let configured = configure(&DEFINITION, settings, &outside);
    let provider = match configured.connect(outside.context()) {
        Ok(provider) => provider,
        Err(error) => return error,
    };
    let locator = handfast_testkit::parse(reference).locator;
    match provider.fetch(&locator).await {
        Ok(_) => panic!("it must fail"),
        Err(error) => error,
    }
}

/// Asserts that an error contains these texts, and that its whole text is a line of `errors.txt`.
#[track_caller]
pub fn assert_text(error: &ProviderError, texts: &[&str]) {
    assert_listed(error, include_str!("errors.txt"));
    let whole = format!("{}\n{}", error.message, error.hint.as_deref().unwrap_or_default());
    for text in texts {
        assert!(whole.contains(text), "no \"{text}\" in {whole}");
    }
    let first = error.message.chars().next().unwrap_or('.');
    assert!(!first.is_uppercase() && !error.message.ends_with('.') && !whole.contains('\r'), "{whole}");
}

/// A test server that sends this response to every request, and records the requests.
pub fn vault_responding(status: u16, error: &'static str) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    Server::json(listener, None, move |_| (status, json!({ "errors": [error] })))
}
