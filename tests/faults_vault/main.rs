//! Vault on bad days, end to end: each fault of the proxy between handfast and a real Vault. Whatever the network does, the
//! exit code is right and in time, neither process takes much memory, the app starts exactly right or not at all, and nothing
//! that is secret, nor anything that a server has said, is in what is printed.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod line;
mod login;
mod servers;
