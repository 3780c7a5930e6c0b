//! Measures starts with secrets of Vault, over TLS: the time compared with hand-written code and with a rival, and the memory.
//!
//! `cargo bench --bench vault [-- --rounds N | -- --instructions]`; `benches/README.md` has the method and the results.
#![forbid(unsafe_code)]
// A benchmark prints, unlike the product.
#![allow(clippy::print_stdout)]

mod comparison;
mod contender;
mod contenders;
mod footprint;
mod instructions;
#[path = "../start/peak.rs"]
mod peak;
#[path = "../start/programs.rs"]
mod programs;
#[path = "../start/scratch.rs"]
mod scratch;
#[path = "../start/statistics.rs"]
mod statistics;
#[path = "../start/timing.rs"]
mod timing;

use std::error::Error;

use handfast_testservers::{Authority, Vault};
use serde_json::json;

use comparison::{COUNTS, Measured};
use contenders::Setting;
use programs::Programs;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let measured = comparison::measured()?;
    let programs = Programs::find()?;
    let Some(vault) = start(&measured) else { return Err("there is no Vault to measure against".into()) };
    vault.must("POST", "sys/mounts/bench", json!({ "type": "kv", "options": { "version": "2" } }));
    for number in 0..COUNTS[COUNTS.len() - 1] {
        vault.must("POST", &format!("bench/data/secret-{number}"), json!({ "data": { "value": "x".repeat(32) } }));
    }
    let mut setting = Setting::new(&vault, &programs)?;
    measured.print(&mut setting)
}

/// In development mode, Vault allows ten seconds for a handshake.
fn start(measured: &Measured) -> Option<Vault> {
    let Measured::Instructions = measured else { return Vault::start() };
    let authority = Authority::new();
    let mut vault = Vault::with_file_storage(&authority, &authority.server())?;
    vault.initialise();
    vault.unseal();
    Some(vault)
}
