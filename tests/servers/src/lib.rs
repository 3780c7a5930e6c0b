//! The servers of the tests: real servers wherever possible, and fakes for the others. Each fake says that it is a fake.
//!
//! ```no_run
//! use handfast_testservers::Vault;
//! use serde_json::json;
//!
//! let Some(vault) = Vault::shared() else { return };
//! vault.must("POST", "sys/mounts/my-test", json!({ "type": "kv", "options": { "version": "2" } }));
//! vault.must("POST", "my-test/data/db", json!({ "data": { "password": "hunter2" } }));
//! assert_eq!(vault.must("GET", "my-test/data/db", json!(null))["data"]["data"]["password"], "hunter2");
//! ```
//!
//! - A server that this machine cannot run is `None`, and prints a line that `tests/run` counts; as root and in CI it is a
//!   failed test instead.
//! - No server outlives the process that started it, however this process ends. Each server has its own directory, which is
//!   removed with it.
//! - Fixtures panic: a failed set-up is a failed test.
//! - Every call blocks and needs no async runtime, so any test can use it.

mod authority;
mod azure;
mod client;
mod directory;
mod docker;
mod fakes;
mod faults;
mod http;
mod ldap;
mod moto;
mod network;
mod parsers;
mod podman;
mod postgres;
mod process;
mod requirements;
mod vault;

use ring::rand::SecureRandom;

pub use authority::{Authority, Identity, NAME};
pub use azure::{AZURES_NAMES, Azure, TENANT, microsofts_clients};
pub use client::{Answer, Client};
pub use directory::Directory;
pub use docker::{Docker, Memory};
pub use fakes::{AwsMetadata, AzureMetadata, Google, Issuer, Kubernetes};
pub use faults::{Delay, Fault, FaultProxy, Rule, stranger};
pub use http::{Request, Server, Then, write_answer, write_head};
pub use ldap::Ldap;
pub use moto::{AccessKey, Moto, REGION};
pub use network::{LINK_LOCAL, in_own_network, take_address};
pub use parsers::{bicep, openmetrics};
pub use podman::Podman;
pub use postgres::Postgres;
pub use process::{Process, free_port};
pub use requirements::{deno, find_program, is_root, require};
pub use vault::{Agent, AppRole, Pair, ROLE, Vault};

/// A unique value that a test can search for: the prefix and 128 random bits in hexadecimal.
pub fn random(prefix: &str) -> String {
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    prefix.to_owned() + &bytes.map(|byte| format!("{byte:02x}")).concat()
}
