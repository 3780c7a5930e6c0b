//! The interfaces that handfast and its providers share.
//!
//! A provider crate depends only on this crate and `handfast-http`, not on other providers or on handfast itself. It reads the
//! environment, files and the clock through a [`Context`].
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod complaint;
mod context;
mod credential;
mod error;
pub mod files;
mod future;
mod grace;
mod identity;
mod json;
pub mod keys;
mod log;
mod problem;
mod provider;
mod reference;
mod secret;
pub mod settings;
mod units;

pub use complaint::Complaint;
pub use context::{Clock, Context, Environment};
pub use credential::Credential;
pub use error::{ErrorKind, ProviderError, reason};
pub use files::Files;
pub use future::BoxFuture;
pub use grace::{GRACE, Grace};
pub use identity::{Identities, Identity, SignedRequest};
pub use json::compact_json;
pub use log::DEBUG;
pub use problem::{MAX_REPORTED, Place, Problem, Problems, did_you_mean, escaped_excerpt, excerpt, nearest};
pub use provider::{
    Configured, Content, Definition, Ending, Entry, Expiry, Fetched, Found, Grant, Provider, Sockets, Standing,
    Summary, Term, Upkeep,
};
pub use reference::{Decode, Locator, OWN_PARAMETERS, SecretRef, Selection};
pub use secret::SecretValue;
pub use settings::{Item, Settings, Table, Value};
pub use units::whole_seconds;

#[doc(hidden)]
pub use tracing;

/// The largest secret that handfast accepts, in bytes. 1 MiB is also the limit of systemd's credentials; AWS allows 64 KiB, Azure
/// 25 KiB.
pub const MAX_SECRET: usize = 1 << 20;
