//! The only place with unsafe code: thin, typed wrappers of system calls that neither std nor nix has, without policy.
//!
//! Each wrapper turns -1 into an [`std::io::Error`] once; every unsafe block says why it is sound.
#![allow(unsafe_code)]

pub mod fs;
