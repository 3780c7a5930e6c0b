//! Keeps secrets fresh for as long as wanted, at a hundred times the usual pace and with faults, and fails if something grows,
//! ends, or stays stale; or starts many keepers of one secret together, and counts their requests.
//!
//! `cargo bench --bench soak [-- --minutes N | -- --keepers N --minutes N]`; `benches/README.md` has the method and the results.
#![forbid(unsafe_code)]
// A benchmark prints, unlike the product.
#![allow(clippy::print_stdout)]

mod course;
mod freshness;
mod herd;
mod keeper;
#[allow(dead_code, reason = "another benchmark uses more of it")]
mod process;
#[path = "../start/programs.rs"]
mod programs;
mod requests;
#[path = "../start/scratch.rs"]
mod scratch;
mod soak;
mod store;

use std::error::Error;
use std::time::Duration;

use programs::Programs;
use store::Store;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let Wanted { keepers, time } = wanted()?;
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root, because a keeper makes itself unreadable for others".into());
    }
    let programs = Programs::find()?;
    let store = Store::start()?;
    let complaints = match keepers {
        Some(count) => herd::run(&programs, &store, count, time)?,
        None => soak::run(&programs, &store, time)?,
    };
    if complaints.is_empty() {
        println!("\nall bounds kept");
        return Ok(());
    }
    Err(complaints.join("\n").into())
}

/// What the command line asks for.
struct Wanted {
    /// So many keepers together, instead of the two of the soak.
    keepers: Option<usize>,
    time: Duration,
}

/// Reads the command line. Cargo itself passes `--bench`.
fn wanted() -> Result<Wanted> {
    let (mut keepers, mut minutes) = (None, None);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("each option has a value")?;
        match argument.as_str() {
            "--keepers" => keepers = Some(value.parse()?),
            "--minutes" => minutes = Some(value.parse::<f64>()?),
            other => return Err(format!("unknown argument `{other}`, expected `--minutes N` or `--keepers N`").into()),
        }
    }
    let usual = if keepers.is_some() { 3.0 } else { 60.0 };
    Ok(Wanted { keepers, time: Duration::try_from_secs_f64(minutes.unwrap_or(usual) * 60.0)? })
}
