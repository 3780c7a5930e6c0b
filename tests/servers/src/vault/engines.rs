//! Secrets engines. One call sets up an engine at a mount of the test's own.

use serde_json::{Value, json};

use super::Vault;
use crate::postgres::Postgres;

impl Vault {
    /// Enables KV version 1 or 2 at this mount. Version 2 upgrades the mount for a moment; the call waits for that.
    pub fn enable_kv(&self, mount: &str, version: u8) {
        let options = json!({ "version": version.to_string() });
        self.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": "kv", "options": options }));
        if version == 2 {
            self.wait_until("KV is ready", |vault| vault.api("GET", &format!("{mount}/config"), Value::Null).0 == 200);
        }
    }

    /// Enables any other engine at this mount: `transit`, `pki`, `ssh`, …
    pub fn enable_engine(&self, mount: &str, kind: &str) {
        self.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": kind }));
    }

    /// Enables `database` at this mount with the role `web`. Its credentials have a lease of this length: read
    /// `MOUNT/creds/web`.
    pub fn enable_database(&self, mount: &str, postgres: &Postgres, lease: &str) {
        self.enable_engine(mount, "database");
        let (owner, password) = postgres.owner();
        let address = postgres.address();
        let connection = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "web",
            "connection_url": format!("postgresql://{{{{username}}}}:{{{{password}}}}@{address}/postgres?sslmode=disable"),
            "username": owner, "password": password,
        });
        self.must("POST", &format!("{mount}/config/postgres"), connection);
        let create = "create role \"{{name}}\" login password '{{password}}' valid until '{{expiration}}'";
        let role =
            json!({ "db_name": "postgres", "creation_statements": [create], "default_ttl": lease, "max_ttl": "24h" });
        self.must("POST", &format!("{mount}/roles/web"), role);
    }
}
