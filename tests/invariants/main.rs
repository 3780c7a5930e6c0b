//! The invariants of ARCHITECTURE.md, and the layout of the source.

#[path = "../support/mod.rs"]
mod support;

mod all_or_nothing;
mod bootstrap;
mod environment;
mod hostile_worker;
mod keeper;
mod kills;
mod layering;
mod no_shell;
mod privileged_process;
mod read_back;
mod rotations;
mod secret_type;
mod secrets;
mod steps;
mod supervised_keeper;
mod worker_injection;
