//! `azure:` secrets of Azure Key Vault.
//!
//! The files are the way of a fetch: [`settings`] (which vault, who we are), [`cloud`] (what a vault's address is), [`locator`]
//! (what a reference names), [`auth`] (a file for each way to get a token), [`session`] (one token for all), [`wire`] (the
//! SDK's way to the network), [`vault`] (one vault, its challenge), [`store`] (from a locator to a request and back),
//! [`explain`] (what a refusal means). [`policy`] says what all of it must be allowed.
//!
//! Requests and answers are those of Microsoft's crates. What these would read by themselves (variables, files, a proxy, the
//! time between tries) they are given, or it is not used; the clock alone they look at, for whether a token has expired.
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

/// The parts of this provider.
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
            "Where Entra ID is: https://host; default: AZURE_AUTHORITY_HOST, else the cloud's.",
        ),
        Key::new(
            "endpoint_suffix_check",
            Kind::Boolean,
            "Whether a vault's address must be under the cloud's domain. Without it, whoever has the address gets the secrets' reader.",
        )
        .default("true"),
        Key::new("auth", Kind::Table(auth::KEYS), "Who we are; default: what the environment says, as Microsoft's tools read it."),
    ],
    parameters: &["version"],
    writes: false,
    bootstrap: &["AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "IDENTITY_HEADER"],
    identity: None,
    configure: settings::configure,
};
