//! The conformance suite for `azure`, with the tests' own Azure behind their proxy, which makes requests fail.
#![allow(missing_docs)]

use std::time::Duration;

use handfast_core::{Definition, ErrorKind, Table, Value};
use handfast_testkit::{Answer, Cannot, Fixture, Outside, Variables, table, text};
use handfast_testservers::{Authority, Azure, Directory, Fault, FaultProxy, Server, TENANT, stranger};
use serde_json::json;

/// A new Azure for the test, and an application in it.
struct Store {
    /// `None` if it is not available, which has been printed.
    line: Option<Line>,
}

struct Line {
    azure: Azure,
    proxy: FaultProxy,
    other: Server,
    files: Directory,
    client: String,
    secret: String,
}

const NO_AZURE: Cannot = Cannot("no Azure can be had on this machine");

impl Line {
    fn new(azure: Azure) -> Self {
        let (client, secret) = azure.application();
        let (authority, files) = (Authority::new(), Directory::new());
        let theirs = std::fs::read_to_string(azure.ca_file()).expect("it is there");
        files.write("ca.pem", authority.pem());
        let (proxy, other) = (FaultProxy::in_front_of(&azure.address(), &theirs, &authority), stranger(&authority));
        Self { azure, proxy, other, files, client, secret }
    }
}

impl Store {
    fn line(&self) -> Result<&Line, Cannot> {
        self.line.as_ref().ok_or(NO_AZURE)
    }

    /// A secret whose responses have this fault.
    fn with(&mut self, name: &str, times: usize, fault: Fault) -> Answer {
        let reference = self.put(name, b"there at last")?;
        let line = self.line()?;
        line.proxy.add(fault.on(&format!("/secrets/{name}/")).times(times));
        Ok(reference)
    }
}

impl Fixture for Store {
    const DEFINITION: &'static Definition = &handfast_azure::DEFINITION;

    // A response may have this size, including the JSON around the secret.
    const LARGEST: usize = 8 << 20;

    fn new() -> Self {
        Self { line: Azure::start().map(Line::new) }
    }

    fn settings(&self) -> Table {
        let address = self.line.as_ref().map_or("https://127.0.0.1:1".to_owned(), |line| line.proxy.address());
        let ca_file = self.line.as_ref().map_or("/none".to_owned(), |line| line.files.file("ca.pem"));
        table([
            ("vault", text(&address)),
            ("authority", text(&address)),
            ("ca_file", text(&ca_file)),
            ("endpoint_suffix_check", Value::Boolean(false)),
        ])
    }

    fn outside(&self) -> Outside {
        let Some(line) = &self.line else { return Outside::default() };
        let variables = Variables::default()
            .with("AZURE_TENANT_ID", TENANT)
            .with("AZURE_CLIENT_ID", &line.client)
            .with_credential("AZURE_CLIENT_SECRET", &line.secret);
        Outside { variables, ..Outside::default() }
    }

    fn put(&mut self, name: &str, value: &[u8]) -> Answer {
        let line = self.line()?;
        let value = str::from_utf8(value).map_err(|_| {
            Cannot("its values are strings in JSON, which are UTF-8; others are kept as base64, for `?decode=base64`")
        })?;
        if value.len() > 25 << 10 {
            return Err(Cannot("a secret has at most 25 KiB there"));
        }
        line.azure.set(name, value);
        Ok(format!("azure:{name}"))
    }

    fn missing(&mut self) -> Answer {
        self.line().map(|_| "azure:missing".to_owned())
    }

    fn denied(&mut self) -> Answer {
        let reference = self.put("denied", b"denied")?;
        self.line()?.azure.set_up(
            "vault?name=main",
            json!({ "access": "rbac", "grants": ["good", "missing", "neighbour", "other", "long"] }),
        );
        Ok(reference)
    }

    fn unavailable(&mut self, attempts: u32) -> Answer {
        self.with("unavailable", attempts as usize, Fault::Status(503))
    }

    fn slow(&mut self, delay: Duration) -> Answer {
        self.with("slow", usize::MAX, Fault::Latency(delay))
    }

    fn bad_references(&self) -> Result<Vec<&'static str>, Cannot> {
        Ok(vec![
            "azure:db_password",
            "azure:web/db/x",
            "azure:w/db",
            "azure:db?version=latest",
            "azure:https://web.vault.azure.net/secrets/db",
        ])
    }

    fn more_failures(&mut self) -> Vec<(String, ErrorKind)> {
        use ErrorKind::{Malformed, Unavailable, Untrusted};
        let Ok(other) = self.line().map(|line| line.other.address()) else { return Vec::new() };
        [
            ("html", Fault::Html, Malformed),
            ("gone", Fault::Status(404), Malformed),
            ("gateway", Fault::Status(502), Unavailable),
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
        self.line.iter().flat_map(|line| [line.secret.clone(), line.proxy.canary().to_owned()]).collect()
    }
}

handfast_testkit::conformance!(Store);
