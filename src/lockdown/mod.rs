//! The stage `lockdown`.
#![forbid(unsafe_code)]
