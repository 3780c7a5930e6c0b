//! Vault's own agent: a socket and a port that pass requests on, and a file with a token that the agent renews.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::json;

use super::logins::AppRole;
use super::{Vault, program};
use crate::directory::Directory;
use crate::process::{Process, free_port};

/// An agent.
pub struct Agent {
    process: Process,
    port: u16,
}

impl Vault {
    /// Starts an agent for this server that logs in with `approle` at this mount. It adds its token to requests without a
    /// token.
    pub fn agent(&self, mount: &str, role: &AppRole) -> Option<Agent> {
        self.agent_that(true, mount, role)
    }

    /// The same with an agent that may keep its token to itself.
    pub fn agent_that(&self, lends: bool, mount: &str, role: &AppRole) -> Option<Agent> {
        let program = program()?;
        let directory = Directory::new();
        directory.write("role-id", &role.role_id);
        directory.write("secret-id", &role.secret_id);
        let method = json!({
            "type": "approle", "mount_path": format!("auth/{mount}"),
            "config": {
                "role_id_file_path": directory.file("role-id"), "secret_id_file_path": directory.file("secret-id"),
                "remove_secret_id_file_after_reading": false,
            },
        });
        let port = free_port();
        let sink = json!({ "type": "file", "config": { "path": directory.file("token") } });
        let configuration = json!({
            "vault": { "address": self.address, "ca_cert": self.ca_file },
            "auto_auth": { "method": method, "sinks": [{ "sink": sink }] },
            "cache": { "use_auto_auth_token": lends },
            "listener": [
                { "unix": { "address": directory.file("agent.sock"), "tls_disable": true } },
                // As Vault's documentation advises: no page of a browser can send this header.
                { "tcp": { "address": format!("127.0.0.1:{port}"), "tls_disable": true, "require_request_header": true } },
            ],
        });
        directory.write("agent.json", configuration.to_string());
        let configuration = directory.file("agent.json");
        let process = Process::start("vault agent", directory, &[&program, "agent", "-config", &configuration], &[]);
        let mut agent = Agent { process, port };
        let (socket, token) = (agent.socket(), agent.token_file());
        agent.process.wait_for(|| {
            UnixStream::connect(&socket).ok()?;
            TcpStream::connect(("127.0.0.1", port)).ok()?;
            fs::read(&token).ok().filter(|token| !token.is_empty())
        });
        Some(agent)
    }
}

impl Agent {
    /// The path of the socket, which speaks plain HTTP.
    pub fn socket(&self) -> PathBuf {
        self.process.directory().join("agent.sock")
    }

    /// The address of its port on this machine, which speaks plain HTTP.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The path of the file with the agent's token.
    pub fn token_file(&self) -> PathBuf {
        self.process.directory().join("token")
    }
}
