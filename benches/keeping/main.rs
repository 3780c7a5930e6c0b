//! Measures what stays of handfast while it keeps secrets fresh: its memory, how often it wakes up, and how long a change takes
//! from the store to the file.
//!
//! `cargo bench --bench keeping`; `benches/README.md` has the method and the results.
#![forbid(unsafe_code)]
// A benchmark prints, unlike the product.
#![allow(clippy::print_stdout)]

#[path = "../start/bound.rs"]
mod bound;
mod changes;
#[allow(dead_code, reason = "the soak uses more of it")]
#[path = "../soak/keeper.rs"]
mod keeper;
#[allow(dead_code, reason = "the soak uses more of it")]
#[path = "../soak/process.rs"]
mod process;
#[path = "../start/programs.rs"]
mod programs;
mod rest;
#[path = "../start/scratch.rs"]
mod scratch;
#[allow(dead_code, reason = "the starts use more of it")]
#[path = "../start/statistics.rs"]
mod statistics;
#[allow(dead_code, reason = "the soak uses more of it")]
#[path = "../soak/store.rs"]
mod store;

use std::error::Error;

use programs::Programs;
use store::Store;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root, because a keeper makes itself unreadable for others".into());
    }
    let programs = Programs::find()?;
    let store = Store::start()?;
    rest::print(&programs, &store)?;
    changes::print(&programs, &store)
}
