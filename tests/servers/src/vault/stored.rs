//! Servers with a storage, which can be uninitialised, sealed, or a standby of another server.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Vault, program};
use crate::authority::{Authority, Identity};
use crate::client::Client;
use crate::directory::Directory;
use crate::fakes::Google;
use crate::process::{Process, free_port};

const LOOPBACK: &str = "127.0.0.1";

/// Two servers with one storage.
pub struct Pair {
    /// The active server.
    pub active: Vault,
    /// The standby. It passes requests on, or redirects requests that forbid this (`x-vault-no-request-forwarding: true`).
    pub standby: Vault,
}

impl Vault {
    /// Starts an uninitialised server with files as its storage and with this certificate: `authority.server()`, or a
    /// certificate that clients must reject; then only the product talks to the server.
    pub fn with_file_storage(authority: &Authority, identity: &Identity) -> Option<Self> {
        Self::with_file_storage_at(LOOPBACK, authority, identity)
    }

    /// The same at this address of the machine.
    pub fn with_file_storage_at(host: &str, authority: &Authority, identity: &Identity) -> Option<Self> {
        let storage = |directory: &Directory| json!({ "file": { "path": directory.file("storage") } });
        Self::with_storage(host, authority, identity, storage)
    }

    /// Starts an active server whose storage can be shared.
    pub fn with_raft(authority: &Authority) -> Option<Self> {
        let mut vault = Self::with_storage(LOOPBACK, authority, &authority.server(), raft)?;
        vault.initialise();
        vault.unseal();
        Some(vault)
    }

    /// Makes a server of [`with_raft`](Self::with_raft) a standby without an active server for ten seconds: it answers 500.
    pub fn step_down(&self) {
        self.must("PUT", "sys/step-down", Value::Null);
    }

    /// Starts an active server and a standby. If the active server is dropped, the standby redirects to an address without a
    /// server.
    pub fn pair(authority: &Authority) -> Option<Pair> {
        let active = Self::with_raft(authority)?;
        let mut standby = Self::with_storage(LOOPBACK, authority, &authority.server(), raft)?;
        let leader = json!({ "leader_api_addr": active.address, "leader_ca_cert": authority.pem() });
        standby.must("POST", "sys/storage/raft/join", leader);
        standby.root_token = active.root_token.clone();
        standby.unseal_key = active.unseal_key.clone();
        // The join continues after its answer, and accepts the key only after it is complete.
        standby.wait_until("it has joined", |vault| {
            let key = json!({ "key": vault.unseal_key });
            vault.api("POST", "sys/unseal", key);
            vault.api("GET", "sys/health", Value::Null).0 == 429
        });
        standby.wait_until("it knows the active one", |vault| vault.api("GET", "sys/mounts", Value::Null).0 == 200);
        Some(Pair { active, standby })
    }

    fn with_storage(
        host: &str,
        authority: &Authority,
        identity: &Identity,
        storage: impl Fn(&Directory) -> Value,
    ) -> Option<Self> {
        let program = program()?;
        let (directory, port) = (Directory::new(), free_port());
        let (certificate, key) = identity.write(&directory, "server");
        let ca_file = directory.write("ca.pem", authority.pem());
        let address = format!("https://{host}:{port}");
        let configuration = json!({
            "listener": { "tcp": {
                "address": format!("{host}:{port}"), "tls_cert_file": certificate, "tls_key_file": key,
                // A client that `steps` traces takes minutes for a handshake.
                "http_read_header_timeout": "1h", "http_read_timeout": "1h",
            } },
            "storage": storage(&directory),
            "api_addr": address,
            "cluster_addr": format!("https://{host}:{}", port + 1),
            // mlock needs a right that ordinary users do not have, and the server holds only secrets of tests.
            "disable_mlock": true,
        });
        directory.write("vault.json", configuration.to_string());
        let configuration = directory.file("vault.json");
        let mut process = Process::start("vault", directory, &[&program, "server", "-config", &configuration], &[]);
        // Do not wait with a request: the certificate may be one that the tests' client rejects too.
        while !process.log().contains("Vault server started!") {
            process.wait_for(|| std::net::TcpStream::connect((host, port)).ok());
            sleep(Duration::from_millis(20));
        }
        let client = Client::trusting(&authority.pem());
        Some(Self {
            process,
            address,
            ca_file,
            client,
            root_token: String::new(),
            unseal_key: None,
            google: Google::start(),
        })
    }

    /// Initialises the storage with one key share. The server is then sealed.
    pub fn initialise(&mut self) {
        let made = self.must("POST", "sys/init", json!({ "secret_shares": 1, "secret_threshold": 1 }));
        let text = |value: &Value| value.as_str().expect("it is documented so").to_owned();
        self.root_token = text(&made["root_token"]);
        self.unseal_key = Some(text(&made["keys"][0]));
    }

    /// Unseals the server and waits until it is active.
    pub fn unseal(&self) {
        self.must("POST", "sys/unseal", json!({ "key": self.unseal_key.as_ref().expect("it is initialised") }));
        self.wait_until("it is active", |vault| vault.api("GET", "sys/health", Value::Null).0 == 200);
    }

    /// Records every request and its answer from now on (an audit device): their paths, and who has asked, but no value.
    pub fn record(&self) {
        let device = json!({ "type": "file", "options": { "file_path": self.record_file() } });
        self.must("PUT", "sys/audit/file", device);
    }

    /// The recorded answers, with their requests: `.request.path`, `.auth.metadata`.
    pub fn recorded(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.record_file()).expect("it is recorded");
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
        entries.filter(|entry| entry["type"] == "response").collect()
    }

    fn record_file(&self) -> std::path::PathBuf {
        self.process.directory().join("record")
    }

    /// Seals the server.
    pub fn seal(&self) {
        self.must("POST", "sys/seal", Value::Null);
    }

    pub(super) fn wait_until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(Instant::now() < deadline, "waited too long until {what}:\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
    }
}

fn raft(directory: &Directory) -> Value {
    let path = directory.file("raft");
    std::fs::create_dir(&path).expect("it is ours");
    json!({ "raft": { "path": path, "node_id": path, "performance_multiplier": 1 } })
}
