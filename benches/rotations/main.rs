//! Two proofs of the tests, as long as wanted: one set of files after the other under four readers, and keepers that are killed
//! at random moments. The code is that of the tests.
//!
//! `cargo bench --bench rotations [-- --rotations N --kills N]`; `benches/README.md` has the results.
// A benchmark prints, unlike the product.
#![allow(clippy::print_stdout)]

#[path = "../../tests/invariants/kills.rs"]
mod kills;
#[path = "../../tests/invariants/rotations.rs"]
mod rotations;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::time::{Duration, Instant};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let (rotations, kills) = wanted()?;
    if rotations > 0 {
        let start = Instant::now();
        let (rotations, reads) = rotations::rotate(&support::Directory::in_memory(), rotations, Duration::MAX);
        let elapsed = start.elapsed().as_secs_f64();
        println!(
            "{rotations} rotations of five files in {elapsed:.1} s, {:.0} a second; four readers have read them {} times ({}): \
             no torn file, no mixed set, no missing path",
            f64::from(rotations) / elapsed,
            reads.iter().sum::<u32>(),
            reads.map(|count| count.to_string()).join(", "),
        );
    }
    if kills > 0 {
        let start = Instant::now();
        let changed = kills::kill_often(kills);
        println!(
            "{kills} keepers killed in {:.1} s, {changed} of them after a change: whole sets, all repaired",
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// The numbers of rotations and of kills. Cargo itself passes `--bench`.
fn wanted() -> Result<(u32, u32)> {
    let (mut rotations, mut kills) = (None, None);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let count = arguments.next().ok_or("each option has a value")?.parse()?;
        match argument.as_str() {
            "--rotations" => rotations = Some(count),
            "--kills" => kills = Some(count),
            other => return Err(format!("unknown argument `{other}`, expected `--rotations N` or `--kills N`").into()),
        }
    }
    Ok(match (rotations, kills) {
        (None, None) => (1_000_000, 2_000),
        (rotations, kills) => (rotations.unwrap_or(0), kills.unwrap_or(0)),
    })
}
