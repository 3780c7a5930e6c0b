//! A secret in moto, behind a proxy of its own that makes faults.

use handfast_testservers::{Authority, Directory, Fault, FaultProxy, Moto, REGION, random};
use serde_json::json;

use crate::shared::{Line, meets_every_fault};
use crate::support::Run;

/// A secret in moto, behind a proxy of its own.
pub struct AwsLine {
    pub moto: &'static Moto,
    pub proxy: FaultProxy,
    authority: Authority,
    pub files: Directory,
    pub name: String,
    pub secret: String,
}

impl AwsLine {
    /// One in this moto.
    pub fn of(moto: &'static Moto) -> Self {
        let (name, secret) = (random("db-"), random("canary-"));
        let value = json!({ "password": secret }).to_string();
        moto.must("secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": value }));
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let proxy = FaultProxy::in_front_of(moto.address(), &moto.authority().pem(), &authority);
        Self { moto, proxy, authority, files, name, secret }
    }

    /// handfast where AWS is at this address, without credentials.
    pub fn start_as_nobody(&self, address: &str) -> Run {
        Run::new()
            .env("AWS_ENDPOINT_URL", address)
            .env("AWS_CA_BUNDLE", self.files.file("ca.pem"))
            .env("AWS_REGION", REGION)
            .env("DB_PASSWORD_FILE", format!("handfast:aws:sm/{}#password", self.name))
    }
}

impl Line for AwsLine {
    const PLACES: &'static [&'static str] = &["secretsmanager.GetSecretValue"];
    const REFERENCE: &'static str = "aws:sm/";
    const BUSY: &'static str = "AWS answers no more requests for now (throttling)";

    fn new() -> Option<Self> {
        Moto::shared().map(Self::of)
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
        let (id, secret) = self.moto.access_key();
        self.start_as_nobody(address).env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret)
    }

    fn redirected(&self) -> (i32, &'static str) {
        (76, "it redirects to another origin")
    }

    fn secret(&self) -> &str {
        &self.secret
    }

    fn credential(&self) -> &str {
        self.moto.access_key().1
    }

    fn impossible() -> Vec<(Fault, i32, &'static str)> {
        const STRANGE: &str = "with something else than AWS does";
        vec![
            (Fault::Huge, 65, "the answer is larger than 8388608 bytes"),
            (Fault::HugeInChunks, 65, "the answer is larger than 8388608 bytes"),
            (Fault::GzipBomb, 65, STRANGE),
            (Fault::Html, 65, STRANGE),
            (Fault::Status(404), 65, STRANGE),
            (Fault::Status(401), 77, STRANGE),
            (Fault::Status(403), 77, STRANGE),
            (Fault::Deep(10_000), 65, "AWS"),
            (Fault::Deep(1_000_000), 65, "AWS"),
        ]
    }
}

meets_every_fault!(AwsLine);
