//! Azure on bad days: what `faults_shared` holds every store to.

#[path = "../faults_shared/mod.rs"]
mod shared;
#[path = "../support/mod.rs"]
mod support;

mod line;
