//! `vault:` secrets of HashiCorp Vault and of OpenBao, which has the same interface.
//!
//! The files follow the steps of a fetch: [`settings`] (the address and the login), [`session`] (the login, its renewal and
//! revocation) with [`active_login`] (one login) and [`leases`] (the leases of the logins), [`mounts`] (the kind of each mount),
//! [`store`] (from a locator to requests, from responses to values), [`api`] (sending a request), [`explain`] (the error for a
//! refusal). [`policy`] writes the Vault policy that all of this needs.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod active_login;
mod api;
mod auth;
mod explain;
mod leases;
mod locator;
mod mounts;
mod policy;
mod session;
mod settings;
mod store;
mod tls;

use handfast_core::Definition;
use handfast_core::keys::{Key, Kind};

/// The definition of this provider.
pub const DEFINITION: Definition = Definition {
    name: "vault",
    keys: &[
        Key::new(
            "address",
            Kind::String,
            "The address of Vault: https://host:port, or unix:///path of an agent's socket; default: VAULT_ADDR.",
        ),
        Key::new("namespace", Kind::String, "The namespace of every request; default: VAULT_NAMESPACE."),
        Key::new("auth", Kind::Table(auth::KEYS), "How to log in; default: VAULT_TOKEN, else VAULT_AUTH_METHOD."),
        Key::new(
            "mounts",
            Kind::StringTable,
            "The kind of each mount: \"kv-v1\", \"kv-v2\" or \"other\"; default: one request to Vault for each mount.",
        ),
        Key::new(
            "danger_plaintext",
            Kind::Boolean,
            "Allows http:// to other machines: anybody on the network path can read every secret.",
        )
        .default("false"),
        Key::new(
            "danger_skip_tls_verify",
            Kind::Boolean,
            "Does not check Vault's certificate, as VAULT_SKIP_VERIFY: anybody on the network path can read every secret.",
        )
        .default("false"),
        Key::new(
            "revoke_on_exit",
            Kind::Boolean,
            "Whether `watch` revokes its leases and its login's token when TERM or INT ends it, and `run --supervise` when the app ends.",
        )
        .default("false"),
    ],
    parameters: &["version"],
    writes: true,
    bootstrap: &["VAULT_TOKEN", "VAULT_SECRET_ID", "VAULT_JWT"],
    identity: None,
    configure: settings::configure,
};
