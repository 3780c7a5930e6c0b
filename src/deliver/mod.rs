//! The stage `deliver`.
#![forbid(unsafe_code)]
