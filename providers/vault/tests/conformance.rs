//! The conformance suite for `vault`, with a real Vault behind the tests' proxy, which makes requests fail.
#![allow(missing_docs)]

use std::time::Duration;

use handfast_core::{Definition, ErrorKind, Table};
use handfast_testkit::{Answer, Cannot, Fixture, Outside, Variables, table, text};
use handfast_testservers::{Authority, Directory, Fault, FaultProxy, Server, Vault, random, stranger};
use serde_json::{Value, json};

/// A KV 2 mount of the test, and a token that may read all its secrets but one.
struct Store {
    /// `None` if no Vault is available, which has been printed.
    line: Option<Line>,
}

struct Line {
    vault: &'static Vault,
    proxy: FaultProxy,
    other: Server,
    files: Directory,
    mount: String,
    token: String,
}

const NO_VAULT: Cannot = Cannot("no Vault can be had on this machine");

impl Line {
    fn new(vault: &'static Vault) -> Self {
        let (mount, policy) = (random("kv-"), random("policy-"));
        vault.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": "kv", "options": { "version": "2" } }));
        let rules = format!(
            "path \"{mount}/data/*\" {{ capabilities = [\"read\"] }}\n\
             path \"{mount}/data/denied\" {{ capabilities = [\"deny\"] }}"
        );
        vault.must("POST", &format!("sys/policies/acl/{policy}"), json!({ "policy": rules }));
        let made = vault.must("POST", "auth/token/create", json!({ "policies": [policy] }));
        let token = made["auth"]["client_token"].as_str().expect("it is documented so").to_owned();
        let authority = Authority::new();
        let files = Directory::new();
        files.write("ca.pem", authority.pem());
        let (proxy, other) = (FaultProxy::start(vault, &authority), stranger(&authority));
        Self { vault, proxy, other, files, mount, token }
    }

    /// The path of a secret in Vault.
    fn path(&self, name: &str) -> String {
        format!("/v1/{}/data/{name}", self.mount)
    }

    fn reference(&self, name: &str) -> String {
        format!("vault:{}/{name}#value", self.mount)
    }
}

impl Store {
    fn line(&self) -> Result<&Line, Cannot> {
        self.line.as_ref().ok_or(NO_VAULT)
    }

    /// A secret whose responses have this fault.
    fn with(&mut self, name: &str, times: usize, fault: Fault) -> Answer {
        let reference = self.put(name, b"there at last")?;
        let line = self.line()?;
        line.proxy.add(fault.on(&line.path(name)).times(times));
        Ok(reference)
    }
}

impl Fixture for Store {
    const DEFINITION: &'static Definition = &handfast_vault::DEFINITION;

    // A response may have this size, including the JSON around the secret.
    const LARGEST: usize = 8 << 20;

    fn new() -> Self {
        Self { line: Vault::shared().map(Line::new) }
    }

    fn settings(&self) -> Table {
        let address = self.line.as_ref().map_or("https://127.0.0.1:1".to_owned(), |line| line.proxy.address());
        table([("address", text(&address))])
    }

    fn outside(&self) -> Outside {
        let Some(line) = &self.line else { return Outside::default() };
        let variables = Variables::default()
            .with("VAULT_CACERT", &line.files.file("ca.pem"))
            .with_credential("VAULT_TOKEN", &line.token);
        Outside { variables, ..Outside::default() }
    }

    fn put(&mut self, name: &str, value: &[u8]) -> Answer {
        let line = self.line()?;
        let value = str::from_utf8(value).map_err(|_| {
            Cannot("its values are strings in JSON, which are UTF-8; others are kept as base64, for `?decode=base64`")
        })?;
        line.vault.must("POST", &format!("{}/data/{name}", line.mount), json!({ "data": { "value": value } }));
        Ok(line.reference(name))
    }

    fn extract(whole: Vec<u8>) -> Vec<u8> {
        let data: Value = serde_json::from_slice(&whole).expect("a secret's data is JSON");
        data["value"].as_str().expect("`put` has made it a string").as_bytes().to_vec()
    }

    fn missing(&mut self) -> Answer {
        Ok(self.line()?.reference("missing"))
    }

    fn denied(&mut self) -> Answer {
        self.put("denied", b"denied")
    }

    fn unavailable(&mut self, attempts: u32) -> Answer {
        self.with("unavailable", attempts as usize, Fault::Status(503))
    }

    fn slow(&mut self, delay: Duration) -> Answer {
        self.with("slow", usize::MAX, Fault::Latency(delay))
    }

    fn bad_references(&self) -> Result<Vec<&'static str>, Cannot> {
        Ok(vec!["vault:kv", "vault:/kv/web", "vault:kv/../sys/raw", "vault:v1/kv/web", "vault:kv/web?version=0"])
    }

    fn more_failures(&mut self) -> Vec<(String, ErrorKind)> {
        use ErrorKind::{Malformed, Unavailable};
        let Ok(other) = self.line().map(|line| line.other.address()) else { return Vec::new() };
        [
            ("html", Fault::Html, Malformed),
            ("gone", Fault::Status(404), Malformed),
            ("gateway", Fault::Status(502), Unavailable),
            ("twice", Fault::DuplicateKey("data"), Malformed),
            ("deep", Fault::Deep(10_000), Malformed),
            ("bomb", Fault::GzipBomb, Malformed),
            ("half", Fault::Truncated, Unavailable),
            ("reset", Fault::ResetInBody, Unavailable),
            ("elsewhere", Fault::Redirect(other), Unavailable),
        ]
        .into_iter()
        .filter_map(|(name, fault, kind)| Some((self.with(name, usize::MAX, fault).ok()?, kind)))
        .collect()
    }

    fn canaries(&self) -> Vec<String> {
        self.line.iter().flat_map(|line| [line.token.clone(), line.proxy.canary().to_owned()]).collect()
    }
}

handfast_testkit::conformance!(Store);
