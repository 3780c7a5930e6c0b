//! A real Vault over TLS, and a real PostgreSQL behind it.

use handfast_testservers::{AppRole, Authority, Fault, FaultProxy, Postgres, Vault};
use serde_json::{Value, json};

use crate::Result;

/// The secrets of the key-value mount.
pub const FIELDS: usize = 5;

/// The mounts.
pub const KEY_VALUE: &str = "bench-kv";
pub const DATABASE: &str = "bench-database";
pub const LOGIN: &str = "bench-approle";

/// A lease of the database, and the most that renewals make of it.
const LEASE: &str = "5s";
const LONGEST_LEASE: &str = "20s";

/// One answer in a hundred has a fault: a fifth of them each.
const EACH_FAULT_IN: u32 = 500;

/// The servers, with what the keepers read.
pub struct Store {
    vault: Vault,
    postgres: Postgres,
    pub authority: Authority,
    pub role: AppRole,
}

impl Store {
    pub fn start() -> Result<Self> {
        let vault = Vault::start().ok_or("there is no Vault")?;
        let postgres = Postgres::start().ok_or("there is no PostgreSQL")?;
        vault.enable_kv(KEY_VALUE, 2);
        vault.enable_database(DATABASE, &postgres, LEASE);
        let create = ["create role \"{{name}}\" login password '{{password}}' valid until '{{expiration}}'"];
        vault.must(
            "POST",
            &format!("{DATABASE}/roles/web"),
            json!({ "db_name": "postgres", "creation_statements": create, "default_ttl": LEASE, "max_ttl": LONGEST_LEASE }),
        );
        let rules = [KEY_VALUE, DATABASE].map(|mount| format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}\n"));
        vault.policy("bench", &rules.concat());
        let role = vault.enable_approle(LOGIN, &["bench"]);
        let store = Self { vault, postgres, authority: Authority::new(), role };
        store.write(0);
        Ok(store)
    }

    /// A way to the Vault that counts requests.
    pub fn proxy(&self) -> FaultProxy {
        FaultProxy::start(&self.vault, &self.authority)
    }

    /// The same with faults in one answer of a hundred.
    pub fn faulty_proxy(&self) -> FaultProxy {
        let proxy = self.proxy();
        let faults = [Fault::Status(500), Fault::RetryAfter(429, "1".into()), Fault::Reset, Fault::Cut, Fault::Silence];
        for fault in faults {
            proxy.add(fault.on("/").one_in(EACH_FAULT_IN));
        }
        proxy
    }

    /// Gives each secret of the key-value mount another value.
    pub fn write(&self, number: u64) {
        for field in 0..FIELDS {
            let value = json!({ "data": { "value": format!("{number} of {field}") } });
            self.vault.must("POST", &format!("{KEY_VALUE}/data/{field}"), value);
        }
    }

    /// Ends each login, and what was issued for it.
    pub fn end_logins(&self) {
        let prefix = format!("sys/leases/revoke-prefix/auth/{LOGIN}/login");
        self.vault.must("PUT", &prefix, json!({ "sync": true }));
    }

    /// Whether these credentials open the database.
    pub fn opens(&self, credentials: &[u8]) -> bool {
        let data: Value = serde_json::from_slice(credentials).unwrap_or_default();
        let [user, password] = ["username", "password"].map(|field| data[field].as_str().unwrap_or_default());
        self.postgres.query(user, password, "select 1").is_some()
    }
}
