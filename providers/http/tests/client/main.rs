//! The client against servers of our own on loopback, each of which fails in one way.
// Clippy knows tests by their attribute, and so not what they share.
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
