//! AWS: who we are there. The stores of secrets are not in this version.
//!
//! [`identity`] finds the keys and makes the request, [`signature`] signs it.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod identity;
mod signature;

pub use identity::Identity;
