//! The pages of `docs/` and the README, checked against the schema, the exit codes, the messages and the program itself.
//!
//! `HANDFAST_UPDATE=1 cargo test --test documentation` writes the generated parts: the tables of the schema's keys, the transcripts of
//! the messages, the list of messages that no test provokes, and the pages' quotes of a message that has changed in a transcript.

#[path = "../support/mod.rs"]
mod support;

mod codes;
mod command_line;
mod commands;
mod coverage;
mod links;
mod pages;
mod quotes;
mod reference;
mod transcripts;
