//! Vault on bad days: what `faults_shared` holds every store to, and what only Vault has.

#[path = "../faults_shared/mod.rs"]
mod shared;
#[path = "../support/mod.rs"]
mod support;

mod answers;
mod line;
mod login;
mod servers;
