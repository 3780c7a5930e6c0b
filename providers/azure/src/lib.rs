//! `azure:` secrets of Azure Key Vault.
//!
//! The files follow the steps of a fetch: [`settings`] (the settings), [`cloud`] (the addresses of vaults), [`locator`] (the
//! secret that a reference names), [`auth`] (a file for each login method), [`session`] (the tokens for all requests), [`wire`]
//! (connects the SDK to the HTTP client), [`vault`] (one vault and its challenge), [`store`] (from a locator to a request, from
//! the response to a value), [`explain`] (the error for a refusal). [`policy`] writes the role assignments that all of this
//! needs.
//!
//! The requests and responses are those of Microsoft's crates. These crates do not read variables, files or proxy settings
//! themselves, and do not retry: handfast passes in all of that. They read only the system's clock, to see whether a token has
//! expired.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod auth;
mod cloud;
mod explain;
mod locator;
mod policy;
mod session;
mod settings;
mod store;
mod vault;
mod wire;

use handfast_core::Definition;
use handfast_core::keys::{Key, Kind};

/// The definition of this provider.
pub const DEFINITION: Definition = Definition {
    name: "azure",
    keys: &[
        Key::new(
            "vault",
            Kind::String,
            "The vault of references that name none: its name, or its address such as https://web.vault.azure.net; default: each reference names its vault.",
        ),
        Key::new(
            "cloud",
            Kind::String,
            "\"public\", \"usgov\" or \"china\"; or the domain of a private cloud's vaults, such as \"vault.azurestack.example\".",
        )
        .default("\"public\""),
        Key::new(
            "authority",
            Kind::String,
            "The address of Entra ID: https://host; default: AZURE_AUTHORITY_HOST, else the cloud's.",
        ),
        Key::new(
            "endpoint_suffix_check",
            Kind::Boolean,
            "Whether a vault's address must be under the cloud's domain. Without it, the server at any address gets a token that can read every secret.",
        )
        .default("true"),
        Key::new("auth", Kind::Table(auth::KEYS), "The login; default: the environment variables of Microsoft's tools."),
    ],
    parameters: &["version"],
    writes: false,
    bootstrap: &["AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "IDENTITY_HEADER"],
    identity: None,
    configure: settings::configure,
};
