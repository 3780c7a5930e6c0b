//! Compares the contenders of a store.

use std::time::Duration;

use handfast_testservers::Delay;

use crate::contenders::Setting;
use crate::{Result, footprint, instructions, timing};

/// The time that is added to each round trip in the second table, and to each request in the third table.
const ADDED: Duration = Duration::from_millis(20);

/// The numbers of secrets.
pub const COUNTS: [usize; 3] = [1, 10, 100];

/// The requested measurement.
pub enum Measured {
    /// Memory, and the time of this number of starts.
    Starts { rounds: usize },
    /// Instructions. Each instruction is a stop, so this takes minutes.
    Instructions,
}

/// Reads the command line. Cargo itself passes `--bench`.
pub fn measured() -> Result<Measured> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(Measured::Starts { rounds: 100 }),
        (Some("--rounds"), Some(count)) => Ok(Measured::Starts { rounds: count.parse::<usize>()?.max(1) }),
        (Some("--instructions"), None) => Ok(Measured::Instructions),
        (Some(other), _) => {
            Err(format!("unknown argument `{other}`, expected `--rounds N` or `--instructions`").into())
        }
    }
}

impl Measured {
    /// Measures the store, and prints the results.
    pub fn print(&self, setting: &mut Setting<'_>) -> Result<()> {
        match self {
            Self::Starts { rounds } => {
                footprint::print(setting)?;
                tables(setting, *rounds)
            }
            Self::Instructions => instructions::print(setting),
        }
    }
}

/// Prints all tables: with the store on this machine, with a delay for each round trip, and with a delay for each request.
fn tables(setting: &mut Setting<'_>, rounds: usize) -> Result<()> {
    let (port, fewer) = (setting.port, rounds.div_ceil(4));
    compare("nothing added", setting, rounds)?;
    setting.port = Delay::to(port, ADDED).port();
    compare(&format!("{ADDED:?} added to each round trip, of TCP and TLS too"), setting, fewer)?;
    setting.port = Delay::of_requests(port, ADDED).port();
    compare(&format!("{ADDED:?} added to each request, and nothing to TCP and TLS"), setting, fewer)
}

/// Starts all contenders in turn, and prints a line for each, with its time compared with the floor for the same number of
/// secrets: the ratio of the shortest times, and the median of the differences within a round.
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
