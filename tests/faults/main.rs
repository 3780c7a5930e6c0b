//! Faults of the system, of the worker, and of each store.

#[path = "../support/mod.rs"]
mod support;

mod aws;
mod azure;
mod certificates;
mod command;
mod fetch;
mod handlers;
mod injected;
mod shared;
mod signals;
mod stalled;
mod system;
mod vault;
mod worker;
