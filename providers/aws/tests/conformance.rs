//! The conformance suite for `aws`, with moto behind the tests' proxy, which makes requests fail.
#![allow(missing_docs)]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use handfast_core::{Definition, ErrorKind, Table};
use handfast_testkit::{Answer, Cannot, Fixture, Outside, Variables, table, text};
use handfast_testservers::{
    AccessKey, Authority, Directory, Fault, FaultProxy, Moto, REGION, Server, random, stranger,
};
use serde_json::json;

/// Secrets with the test's own prefix, and a user who may read secrets, but no parameters.
struct Store {
    /// `None` if moto is not available, which has been printed.
    line: Option<Line>,
}

struct Line {
    moto: &'static Moto,
    proxy: FaultProxy,
    other: Server,
    files: Directory,
    prefix: String,
    key: AccessKey,
}

const NO_MOTO: Cannot = Cannot("no moto can be had on this machine");

impl Line {
    fn new(moto: &'static Moto) -> Self {
        let prefix = random("web-");
        let key = moto.new_user(
            &prefix,
            &json!([{ "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*" }]),
        );
        let authority = Authority::new();
        let files = Directory::new();
        files.write("ca.pem", authority.pem());
        let proxy = FaultProxy::in_front_of(moto.address(), &moto.authority().pem(), &authority);
        let other = stranger(&authority);
        Self { moto, proxy, other, files, prefix, key }
    }

    fn reference(&self, name: &str) -> String {
        format!("aws:sm/{}-{name}", self.prefix)
    }
}

impl Store {
    fn line(&self) -> Result<&Line, Cannot> {
        self.line.as_ref().ok_or(NO_MOTO)
    }

    /// A secret whose responses have this fault.
    fn with(&mut self, name: &str, times: usize, fault: Fault) -> Answer {
        let reference = self.put(name, b"there at last")?;
        let line = self.line()?;
        let asked = format!("\"{}-{name}\"", line.prefix);
        line.proxy.add(fault.on("secretsmanager.").about(&asked).times(times));
        Ok(reference)
    }
}

impl Fixture for Store {
    const DEFINITION: &'static Definition = &handfast_aws::DEFINITION;

    // A response may have this size, including the JSON around the secret.
    const LARGEST: usize = 8 << 20;

    fn new() -> Self {
        Self { line: Moto::shared().map(Line::new) }
    }

    fn settings(&self) -> Table {
        let address = self.line.as_ref().map_or("https://127.0.0.1:1".to_owned(), |line| line.proxy.address());
        table([("endpoint", text(&address)), ("region", text(REGION))])
    }

    fn outside(&self) -> Outside {
        let Some(line) = &self.line else { return Outside::default() };
        let variables = Variables::default()
            .with("AWS_CA_BUNDLE", &line.files.file("ca.pem"))
            .with_credential("AWS_ACCESS_KEY_ID", &line.key.id)
            .with_credential("AWS_SECRET_ACCESS_KEY", &line.key.secret);
        Outside { variables, ..Outside::default() }
    }

    fn put(&mut self, name: &str, value: &[u8]) -> Answer {
        let line = self.line()?;
        if value.is_empty() {
            return Err(Cannot("AWS takes no empty secret"));
        }
        let name = format!("{}-{name}", line.prefix);
        let value = STANDARD.encode(value);
        line.moto.must("secretsmanager.CreateSecret", json!({ "Name": name, "SecretBinary": value }));
        Ok(format!("aws:sm/{name}"))
    }

    fn missing(&mut self) -> Answer {
        Ok(self.line()?.reference("missing"))
    }

    fn denied(&mut self) -> Answer {
        let line = self.line()?;
        let name = format!("{}-denied", line.prefix);
        line.moto.must("AmazonSSM.PutParameter", json!({ "Name": name, "Value": "denied", "Type": "String" }));
        Ok(format!("aws:ssm/{name}"))
    }

    fn unavailable(&mut self, attempts: u32) -> Answer {
        self.with("unavailable", attempts as usize, Fault::Status(503))
    }

    fn slow(&mut self, delay: Duration) -> Answer {
        self.with("slow", usize::MAX, Fault::Latency(delay))
    }

    fn bad_references(&self) -> Result<Vec<&'static str>, Cannot> {
        Ok(vec![
            "aws:web/db",
            "aws:sm/web db",
            "aws:sm/web/*",
            "aws:sm/arn:aws:s3:::bucket",
            "aws:sm/web?label=a",
            "aws:ssm/prod//db",
            "aws:ssm/db?version=0",
            "aws:ssm/prod/*?version=1",
        ])
    }

    fn more_failures(&mut self) -> Vec<(String, ErrorKind)> {
        use ErrorKind::{Malformed, Unavailable, Untrusted};
        let Ok(other) = self.line().map(|line| line.other.address()) else { return Vec::new() };
        [
            ("html", Fault::Html, Malformed),
            ("gone", Fault::Status(404), Malformed),
            ("gateway", Fault::Status(502), Unavailable),
            ("busy", Fault::RetryAfter(429, "1".into()), Unavailable),
            ("deep", Fault::Deep(10_000), Malformed),
            ("bomb", Fault::GzipBomb, Malformed),
            ("half", Fault::Truncated, Unavailable),
            ("reset", Fault::ResetInBody, Unavailable),
            ("elsewhere", Fault::Redirect(other), Untrusted),
        ]
        .into_iter()
        .filter_map(|(name, fault, kind)| Some((self.with(name, usize::MAX, fault).ok()?, kind)))
        .collect()
    }

    fn canaries(&self) -> Vec<String> {
        self.line.iter().flat_map(|line| [line.key.secret.clone(), line.proxy.canary().to_owned()]).collect()
    }
}

handfast_testkit::conformance!(Store);
