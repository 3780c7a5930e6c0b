//! How to log in. Each method has its [`Definition`](method::Definition) in a file of its name or kind: which keys it takes, and
//! how it logs in.

mod agent;
mod approle;
mod aws;
mod azure;
mod cert;
mod choice;
mod exchange;
mod gcp;
mod given;
mod jwt;
mod keys;
mod kubernetes;
mod metadata;
mod method;
mod password;
mod refusals;
mod refused;
mod token;
mod wrapping;

pub use choice::{Behind, Chosen, read};
pub use keys::KEYS;
pub use method::{Login, Origin};
pub use wrapping::refused as unwrap_refused;
