//! handfast hands secrets to a process and lets go.
#![deny(unsafe_code)]

pub mod deliver;
pub mod error;
pub mod identity;
pub mod launch;
pub mod lockdown;
pub mod plan;
pub mod sys;
