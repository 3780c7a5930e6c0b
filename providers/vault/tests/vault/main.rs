//! Against a real Vault, over TLS.

mod support;

mod secrets;
