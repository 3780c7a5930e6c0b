//! Vault on bad days: what `shared.rs` holds every store to, and what only Vault has.

mod answers;
mod line;
mod login;
mod servers;
