//! Against a real Vault, over TLS.

mod audit;
mod support;

mod auth;
mod dynamic;
mod economy;
mod environment;
mod leases;
mod lists;
mod mounts;
mod secrets;
mod sockets;
mod wrapped;
