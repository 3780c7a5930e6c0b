//! Against a real Vault, over TLS.

mod support;
mod telling;

mod audit;
mod auth;
mod dynamic;
mod economy;
mod environment;
mod leases;
mod lists;
mod mounts;
mod refusals;
mod secrets;
mod servers;
mod sockets;
mod strangers;
mod wrapped;
