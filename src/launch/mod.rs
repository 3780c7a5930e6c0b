//! The stage `launch`.
#![forbid(unsafe_code)]
