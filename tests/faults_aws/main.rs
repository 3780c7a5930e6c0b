//! AWS on bad days: what `faults_shared` holds every store to, and what only AWS has.

#[path = "../faults_shared/mod.rs"]
mod shared;
#[path = "../support/mod.rs"]
mod support;

mod batches;
mod line;
mod login;
