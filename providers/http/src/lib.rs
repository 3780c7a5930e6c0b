//! The one HTTP and TLS client: every provider that talks to a store does it through a [`Client`].
//!
//! It decides once, for all of them, what handfast trusts, where it connects and how long it waits:
//!
//! - TLS 1.2 and 1.3 by rustls and ring. The trusted roots are built in ([`Roots`]), a user adds or replaces them
//!   ([`CaSource`]); the system's are not read.
//! - No credential in clear text: `https` only, but for loopback, a Unix socket and what [`Plaintext`] allows.
//! - No redirect leaves the origin that the credential is meant for.
//! - No variable is read from the process: a proxy comes from the configuration, or from the [`Context`] where that says so.
//! - Every wait and every size has a bound ([`Options`]). Nothing that an answer says is trusted before it is counted.
//! - No error text holds a header, a query, a path, a user name, a password or a body; they are built here, from origins,
//!   status codes and lengths. Of others' texts two are repeated: the system's on a name look-up, and the names in a certificate of
//!   a trusted authority.
//!
//! It must not: retry (the scheduler does), decompress, keep cookies, or panic on any input.
//!
//! [`Context`]: handfast_core::Context
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod address;
mod authorities;
mod certificate;
mod client;
mod failure;
mod identity;
pub mod metadata;
mod once;
mod one_connection;
mod options;
mod proxy;
mod request;
mod resolve;
mod response;
mod server_name;
mod tls;
mod verify;
mod wiped;

pub use address::{Address, Plaintext};
pub use authorities::{CaSource, Roots};
pub use client::Client;
pub use identity::ClientCertificate;
pub use once::Once;
pub use options::Options;
pub use proxy::{Proxy, ProxyUrl};
pub use request::Request;
/// The library underneath, for an adapter of an SDK that wants its types.
pub use reqwest;
pub use reqwest::header::HeaderMap;
pub use reqwest::{Method, StatusCode, Url};
pub use response::Response;
pub use server_name::ServerName;
pub use wiped::wiped;
