//! Tests with a real Vault, over TLS.

mod errors;
mod support;

mod audit;
mod auth;
mod dynamic;
mod economy;
mod environment;
mod foreign;
mod leases;
mod lists;
mod mounts;
mod refusals;
mod secrets;
mod servers;
mod sockets;
mod wrapped;
