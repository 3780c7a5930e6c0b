//! The client with test servers on loopback, each of which fails in one way.
// Clippy recognizes tests by their attribute, and so not their shared functions.
#![allow(clippy::unwrap_used)]

mod environment;
mod faults;
mod http2;
mod http2_hostile;
mod identity;
mod names;
mod proxies;
mod redirects;
mod support;
mod trust;
