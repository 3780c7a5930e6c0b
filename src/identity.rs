//! Who the app is.
#![forbid(unsafe_code)]
