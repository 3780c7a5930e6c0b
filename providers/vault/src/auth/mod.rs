//! The login methods. Each has its [`Definition`](method::Definition) in a file with its name: its keys and its login.

mod agent;
mod approle;
mod aws;
mod azure;
mod cert;
mod choice;
mod exchange;
mod gcp;
mod jwt;
mod keys;
mod kubernetes;
mod metadata;
mod method;
mod password;
mod reasons;
mod refusals;
mod settings;
mod token;
mod wrapping;

pub use choice::{Chosen, Target, read};
pub use keys::KEYS;
pub use method::{Login, Origin};
pub use wrapping::unwrap_refused;
