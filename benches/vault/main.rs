//! What a start with Vault's secrets takes, over TLS: next to the same written by hand, and to a rival; its memory.
//!
//! `cargo bench --bench vault [-- --rounds N]`; README.md in `benches` says what is measured and what came of it.
#![forbid(unsafe_code)]
// As for the other benchmark.
#![allow(clippy::print_stdout)]

mod contenders;
mod footprint;
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
use std::time::Duration;

use handfast_testservers::{Delay, Vault};
use serde_json::json;

use contenders::Setting;
use programs::Programs;

/// What is added to each round trip in the second table.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// How many secrets are fetched.
const COUNTS: [usize; 3] = [1, 10, 100];

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let rounds = rounds()?;
    let programs = Programs::find()?;
    let Some(vault) = Vault::start() else { return Err("there is no Vault to measure against".into()) };
    vault.must("POST", "sys/mounts/bench", json!({ "type": "kv", "options": { "version": "2" } }));
    for number in 0..COUNTS[COUNTS.len() - 1] {
        vault.must("POST", &format!("bench/data/secret-{number}"), json!({ "data": { "value": "x".repeat(32) } }));
    }
    let mut setting = Setting::new(&vault, &programs)?;
    footprint::print(&setting)?;
    compare("no round trip added", &setting, rounds)?;
    setting.port = Delay::to(setting.port, ROUND_TRIP).port();
    compare(&format!("{ROUND_TRIP:?} added to each round trip"), &setting, rounds.div_ceil(4))
}

/// How often each contender is started: `--rounds N`. Cargo itself passes `--bench`.
fn rounds() -> Result<usize> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(100),
        (Some("--rounds"), Some(count)) => Ok(count.parse::<usize>()?.max(1)),
        (Some(other), _) => Err(format!("unknown argument `{other}`, expected `--rounds N`").into()),
    }
}

/// Starts each of them in turn, and prints a line each, with what it takes over the floor of as many secrets: by the
/// best round as a ratio, and as the median of the differences within a round.
fn compare(title: &str, setting: &Setting<'_>, rounds: usize) -> Result<()> {
    println!("\n{title}, {rounds} rounds, milliseconds from start to the no-op's end:");
    println!("{:<28}{:>10}{:>10}{:>10}{:>12}{:>10}", "", "min", "median", "p90", "/ floor min", "over it");
    for count in COUNTS {
        let contenders = setting.contenders(count)?;
        let samples = timing::interleaved(&contenders, rounds)?;
        for (contender, times) in contenders.iter().zip(&samples) {
            let milliseconds = |microseconds: f64| microseconds / 1000.0;
            println!(
                "{:<28}{:>10.2}{:>10.2}{:>10.2}{:>12.2}{:>10.2}",
                format!("{}, {count}", contender.name),
                milliseconds(times.minimum()),
                milliseconds(times.median()),
                milliseconds(times.percentile(90)),
                times.minimum() / samples[0].minimum(),
                milliseconds(times.over(&samples[0]).median()),
            );
        }
    }
    Ok(())
}
