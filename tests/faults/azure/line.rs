//! A secret in the tests' Azure, behind a proxy of its own that makes faults.

use std::sync::OnceLock;

use handfast_testservers::{Authority, Azure, Directory, Fault, FaultProxy, TENANT, random};
use serde_json::json;

use crate::shared::{Line, meets_every_fault};
use crate::support::Run;

/// A secret in Azure, behind a proxy of its own.
pub struct AzureLine {
    proxy: FaultProxy,
    authority: Authority,
    files: Directory,
    name: String,
    secret: String,
    application: (String, String),
}

/// The one that all tests of this process share, each with a secret of its own.
fn shared() -> Option<&'static Azure> {
    static SHARED: OnceLock<Option<Azure>> = OnceLock::new();
    SHARED.get_or_init(Azure::start).as_ref()
}

impl Line for AzureLine {
    // The challenge and the secret are asked for at the same place.
    const PLACES: &'static [&'static str] = &["/11111111-2222-3333-4444-555555555555/oauth2/", "/secrets/"];
    const REFERENCE: &'static str = "azure:db-";
    const BUSY: &'static str = "too many requests";

    fn new() -> Option<Self> {
        let azure = shared()?;
        let (name, secret) = (random("db-"), random("canary-"));
        azure.set(&name, &json!({ "password": secret }).to_string());
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let theirs = std::fs::read_to_string(azure.ca_file()).expect("it is there");
        let proxy = FaultProxy::in_front_of(&azure.address(), &theirs, &authority);
        Some(Self { proxy, authority, files, name, secret, application: azure.application() })
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
        let (client, secret) = &self.application;
        let toml = format!(
            "[providers.azure]\nvault = \"{address}\"\nendpoint_suffix_check = false\nca_file = \"{}\"\n",
            self.files.file("ca.pem")
        );
        Run::new()
            .config(&toml)
            .env("AZURE_AUTHORITY_HOST", address)
            .env("AZURE_TENANT_ID", TENANT)
            .env("AZURE_CLIENT_ID", client)
            .env("AZURE_CLIENT_SECRET", secret)
            .env("DB_PASSWORD_FILE", format!("handfast:azure:{}#password", self.name))
    }

    fn redirected(&self) -> (i32, &'static str) {
        (76, "it redirects to another origin")
    }

    fn secret(&self) -> &str {
        &self.secret
    }

    fn credential(&self) -> &str {
        &self.application.1
    }

    fn impossible() -> Vec<(Fault, i32, &'static str)> {
        vec![
            (Fault::Huge, 65, "the answer is larger than 8388608 bytes"),
            (Fault::HugeInChunks, 65, "the answer is larger than 8388608 bytes"),
            (Fault::GzipBomb, 65, "cannot "),
            (Fault::Html, 65, "cannot "),
            (Fault::Status(404), 65, "answered 404"),
            (Fault::Status(401), 77, "answered 401"),
            (Fault::Status(403), 77, "answered 403"),
        ]
    }
}

meets_every_fault!(AzureLine);
