//! A secret in a real Vault, behind a proxy of its own that makes faults.

use handfast_testservers::{Authority, Directory, Fault, FaultProxy, Vault, random};
use serde_json::json;

use crate::shared::{self, Line};
use crate::support::Run;

/// Where a fault can be: the question for the mount, and the secret.
pub const PLACES: [&str; 2] = ["/v1/sys/internal/ui/mounts/", "/v1/secret/data/"];

/// A secret in a real Vault, behind a proxy of its own.
pub struct VaultLine {
    pub vault: &'static Vault,
    pub proxy: FaultProxy,
    pub authority: Authority,
    pub files: Directory,
    pub name: String,
    pub secret: String,
    pub token: String,
}

impl Line for VaultLine {
    const PLACES: &'static [&'static str] = &PLACES;
    const REFERENCE: &'static str = "vault:secret/";
    const BUSY: &'static str = "a rate limit is reached";

    fn new() -> Option<Self> {
        let vault = Vault::shared()?;
        let (name, secret, policy) = (random("db-"), random("canary-"), random("policy-"));
        vault.must("POST", &format!("secret/data/{name}"), json!({ "data": { "password": secret } }));
        let rules = format!("path \"secret/data/{name}\" {{ capabilities = [\"read\"] }}");
        vault.must("POST", &format!("sys/policies/acl/{policy}"), json!({ "policy": rules }));
        let made = vault.must("POST", "auth/token/create", json!({ "policies": [policy] }));
        let token = made["auth"]["client_token"].as_str().expect("it is documented so").to_owned();
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let proxy = FaultProxy::start(vault, &authority);
        Some(Self { vault, proxy, authority, files, name, secret, token })
    }

    fn proxy(&self) -> &FaultProxy {
        &self.proxy
    }

    fn authority(&self) -> &Authority {
        &self.authority
    }

    fn start(&self) -> Run {
        self.start_at(&self.proxy.address())
    }

    fn start_at(&self, address: &str) -> Run {
        Run::new()
            .env("VAULT_ADDR", address)
            .env("VAULT_CACERT", self.files.file("ca.pem"))
            .env("VAULT_TOKEN", &self.token)
            .env("DB_PASSWORD_FILE", format!("handfast:vault:secret/{}#password", self.name))
    }

    /// As a standby does, for which there may be an active one in a moment.
    fn redirected(&self) -> (i32, &'static str) {
        (69, "it is a standby, and redirects to https://127.0.0.1:")
    }

    fn secret(&self) -> &str {
        &self.secret
    }

    fn credential(&self) -> &str {
        &self.token
    }

    fn impossible() -> Vec<(Fault, i32, &'static str)> {
        vec![
            (Fault::Huge, 65, "the answer is larger than 8388608 bytes"),
            (Fault::HugeInChunks, 65, "the answer is larger than 8388608 bytes"),
            (Fault::GzipBomb, 65, "it answered 200 with something else than JSON"),
            (Fault::Html, 65, "it answered 200 with an HTML page"),
            (Fault::Status(404), 65, "it answered 404 with an HTML page"),
            (Fault::Status(401), 77, "it answered 401 with an HTML page"),
            (Fault::Status(403), 77, "it answered 403 with an HTML page"),
            (Fault::DuplicateKey("data"), 65, "Vault's answer cannot be read"),
            (Fault::Deep(10_000), 65, "Vault's answer"),
            (Fault::Deep(1_000_000), 65, "Vault's answer"),
        ]
    }
}

/// Runs these side by side, each with a line of its own.
pub fn each<T: Send + Sync>(cases: &[T], test: impl Fn(&VaultLine, &T) + Sync) {
    shared::each(cases, test);
}
