//! Each way to log in, against the real server; and each way to be refused by it.

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

/// A secret that only a policy of its own lets read: who has it has logged in as the one who has the policy.
pub struct Guarded {
    pub vault: &'static Vault,
    pub policy: String,
    mount: String,
}

const PASSWORD: &str = "only-for-who-has-logged-in";

impl Guarded {
    pub fn new() -> Option<Self> {
        let vault = Vault::shared()?;
        let (mount, policy) = (random("kv-"), random("policy-"));
        vault.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": "kv", "options": { "version": "1" } }));
        vault.must("POST", &format!("{mount}/db"), json!({ "password": PASSWORD }));
        vault.policy(&policy, &format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"));
        Some(Self { vault, policy, mount })
    }

    /// The policies of who may read it.
    pub fn policies(&self) -> [&str; 1] {
        [&self.policy]
    }

    pub fn reference(&self) -> String {
        format!("vault:{}/db", self.mount)
    }

    /// Logs in with these keys of `auth`, and reads the secret.
    pub fn opens<const N: usize>(&self, auth: [(&str, &str); N]) {
        self.opens_with(settings(auth), Outside { variables: variables(self.vault), ..Outside::default() });
    }

    /// The same with settings and an outside of the test's own.
    pub fn opens_with(&self, settings: Table, outside: Outside) {
        let value =
            run(async { Instance::from_settings(&DEFINITION, settings, outside).value(&self.reference()).await });
        assert_eq!(value, json!({ "password": PASSWORD }).to_string().as_bytes());
    }

    /// Why a login with these keys of `auth` fails: always 77.
    pub fn refuses<const N: usize>(&self, auth: [(&str, &str); N]) -> ProviderError {
        self.refuses_with(settings(auth), variables(self.vault))
    }

    /// The same with settings and variables of the test's own.
    pub fn refuses_with(&self, settings: Table, variables: Variables) -> ProviderError {
        let error =
            run(async { fetch(settings, Outside { variables, ..Outside::default() }, &self.reference()).await });
        assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
        error
    }

    /// Whether the failure says this, in its message or its hint.
    pub fn must_say<const N: usize>(&self, auth: [(&str, &str); N], texts: &[&str]) {
        said(&self.refuses(auth), texts);
    }
}

/// `[providers.vault] auth`.
pub fn settings<const N: usize>(auth: [(&str, &str); N]) -> Table {
    let value = |key: &str, value: &str| if key == "wrapped" { Value::Boolean(value == "true") } else { text(value) };
    table([("auth", Value::Table(table(auth.map(|(key, written)| (key, value(key, written))))))])
}

/// The error of a fetch that fails, wherever it does.
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

/// Whether an error says these parts of a text; all of it is a line of `errors.txt`.
#[track_caller]
pub fn said(error: &ProviderError, texts: &[&str]) {
    assert_listed(error, include_str!("errors.txt"));
    let whole = format!("{}\n{}", error.message, error.hint.as_deref().unwrap_or_default());
    for text in texts {
        assert!(whole.contains(text), "no \"{text}\" in {whole}");
    }
    let first = error.message.chars().next().unwrap_or('.');
    assert!(!first.is_uppercase() && !error.message.ends_with('.') && !whole.contains('\r'), "{whole}");
}

/// A fake of ours that answers everything so, and remembers what it was sent.
pub fn vault_that_says(status: u16, error: &'static str) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    Server::json(listener, None, move |_| (status, json!({ "errors": [error] })))
}
