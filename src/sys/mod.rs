//! The only place with unsafe code: thin, typed wrappers of system calls that neither std nor nix has, without policy.
//!
//! Each wrapper turns -1 into an [`std::io::Error`] once; every unsafe block says why it is sound.
#![allow(unsafe_code)]

pub mod access_list;
pub mod allocator;
pub mod attributes;
pub mod capabilities;
pub mod clock;
pub mod descriptors;
pub mod environment;
pub mod exit;
pub mod fs;
pub mod jobs;
pub mod landlock;
pub mod process;
pub mod program;
pub mod readable;
pub mod seccomp;
pub mod signals;
mod stdio;
