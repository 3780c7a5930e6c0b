//! Measures the cost of handfast: the time that it adds to a start, compared with tini and gosu; its memory; its size. Reports
//! each crossed bound.
//!
//! `cargo bench --bench start [-- --rounds N]`; `benches/README.md` has the method and the results.
#![forbid(unsafe_code)]
// The lints forbid the product to print, to read the environment and to start programs anywhere. Its benchmark may do so.
#![allow(clippy::print_stdout)]

mod bound;
mod contenders;
mod footprint;
mod peak;
mod programs;
mod scratch;
mod statistics;
mod timing;

use std::error::Error;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use contenders::Contender;
use programs::Programs;

/// The user as whom programs are started for the measurements of an ordinary user.
const NONROOT: u32 = 65532;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let rounds = rounds()?;
    let programs = Programs::find()?;
    println!("{}", machine()?);
    footprint::print(&programs)?;
    if nix::unistd::geteuid().is_root() {
        compare("root", &contenders::as_root(&programs)?, rounds)?;
        setgroups(&[])?;
        let (gid, uid) = (Gid::from_raw(NONROOT), Uid::from_raw(NONROOT));
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    } else {
        println!("skipped: starts as root: needs root");
    }
    compare("an ordinary user", &contenders::as_user(&programs)?, rounds)
}

/// The number of starts of each contender: `--rounds N`. Cargo itself passes `--bench`.
fn rounds() -> Result<usize> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(1000),
        (Some("--rounds"), Some(count)) => match count.parse()? {
            0 => Err("0 rounds measure nothing".into()),
            count => Ok(count),
        },
        (Some(other), _) => Err(format!("unknown argument `{other}`, expected `--rounds N`").into()),
    }
}

/// Describes the machine, because the figures mean nothing without it.
fn machine() -> Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let information = std::fs::read_to_string("/proc/cpuinfo")?;
    let mut processors = information.lines().filter_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let processor = processors.next().unwrap_or("unknown processor");
    let count = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!("Linux {}, {count} x {processor}, load {load}", kernel.trim()))
}

/// Starts all contenders in turn, and prints a line for each. The first contender is the floor.
fn compare(user: &str, contenders: &[Contender], rounds: usize) -> Result<()> {
    let samples = timing::interleaved(contenders, rounds)?;
    // The added time of each contender: by the shortest times, and by the median of the differences to the no-op within a
    // round.
    let added: Vec<(f64, f64)> =
        samples.iter().map(|one| (one.minimum() - samples[0].minimum(), one.over(&samples[0]).median())).collect();
    let added_by = |name: &str| contenders.iter().position(|contender| contender.name == name).map(|at| added[at]);

    println!("\nStarted as {user}, {rounds} rounds, microseconds:");
    println!("{:<22}{:^30}{:^20}{:^20}", "", "whole", "added", "added / tini's");
    println!(
        "{:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "min", "median", "p90", "min", "median", "min", "median"
    );
    for ((contender, samples), (least, usual)) in contenders.iter().zip(&samples).zip(&added) {
        let (minimum, median, tail) = (samples.minimum(), samples.median(), samples.percentile(90));
        let ratio = added_by("tini").map_or(String::new(), |(tini_least, tini_usual)| {
            format!("{:>10.2}{:>10.2}", least / tini_least, usual / tini_usual)
        });
        println!("{:<22}{minimum:>10.0}{median:>10.0}{tail:>10.0}{least:>10.0}{usual:>10.0}{ratio}", contender.name);
    }
    if let (Some(one), Some(ten)) = (added_by(contenders::ONE_SECRET), added_by(contenders::TEN_SECRETS)) {
        println!(
            "ten secrets add {:.2} times (min) or {:.2} times (median) what one adds",
            ten.0 / one.0,
            ten.1 / one.1
        );
    }
    if let (Some(ten), Some(tini)) = (added_by(contenders::TEN_SECRETS), added_by("tini")) {
        bound::print("ten secrets add, to what tini adds (median)", ten.1 / tini.1, 1.25, "");
    }
    Ok(())
}
