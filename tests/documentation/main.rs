//! The pages of `docs/` and the README, checked against what they tell of: the schema, the exit codes, the messages, the program itself.
//!
//! `HANDFAST_UPDATE_DOCS=1 cargo test --test documentation` writes the tables that are made of the schema.

#[path = "../support/mod.rs"]
mod support;

mod codes;
mod command_line;
mod commands;
mod coverage;
mod links;
mod messages;
mod pages;
mod reference;
mod transcripts;
