//! The HTTP and TLS client: every provider of a store on the network sends its requests through a [`Client`].
//!
//! It decides for all providers which servers handfast trusts, which hosts it connects to and how long it waits:
//!
//! - TLS 1.2 and 1.3 by rustls and ring. The trusted roots are built in ([`Roots`]); a user can add to them or replace them
//!   ([`CaSource`]). The system's roots are not read.
//! - No credential is sent unencrypted: only `https` is allowed, except for loopback, Unix sockets and the hosts that
//!   [`Plaintext`] allows.
//! - No redirect to another origin is followed, because the credential is meant for the first origin only.
//! - The process's environment is not read. The proxy comes from the configuration or, if the configuration says so, from the
//!   [`Context`].
//! - Every wait and every size has a bound ([`Options`]). The length that a response announces is not trusted: the bytes are
//!   counted.
//! - No error text contains a header, a query, a path, a user name, a password or a body. The texts are built here, from origins,
//!   status codes and lengths. They quote only two texts from elsewhere: the system's error for a name look-up, and the names in
//!   a certificate that a trusted authority has signed.
//!
//! It does not retry (the scheduler does), decompress, store cookies, or panic on any input.
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
/// The HTTP library itself, for the adapter of an SDK that needs its types.
pub use reqwest;
pub use reqwest::header::HeaderMap;
pub use reqwest::{Method, StatusCode, Url};
pub use response::Response;
pub use server_name::ServerName;
pub use wiped::wiped;
