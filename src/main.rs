//! handfast: see `lib.rs` for the stages, and `run.rs` for their order.
#![no_main]
#![deny(unsafe_code)]

#[path = "sys/entry.rs"]
mod entry;
