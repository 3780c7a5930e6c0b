//! Measures the cost of handfast for a container: the time that it adds to `docker run`, the image size, and the memory charged
//! to the container's control group.
//!
//! `cargo bench --bench containers [-- --rounds N]`, as root; `benches/README.md` has the method and the results.
#![forbid(unsafe_code)]
// A benchmark prints, unlike the product.
#![allow(clippy::print_stdout)]

mod contenders;
mod memory;
#[path = "../start/programs.rs"]
mod programs;
#[path = "../start/scratch.rs"]
mod scratch;
#[path = "../start/statistics.rs"]
mod statistics;
#[path = "../start/timing.rs"]
mod timing;

use std::error::Error;
use std::fs;

use handfast_testservers::{Directory, Docker, find_program};

use programs::Programs;

/// The images: the no-op alone, the no-op with handfast in front, and busybox, which sleeps.
const IMAGES: [(&str, &str); 3] = [
    ("handfast", "FROM scratch\nCOPY handfast /handfast\nENTRYPOINT [\"/handfast\"]\n"),
    ("direct", "FROM scratch\nCOPY noop busybox /\n"),
    ("wrapped", "FROM direct\nCOPY --from=handfast /handfast /handfast\nENTRYPOINT [\"/handfast\", \"run\", \"--\"]\n"),
];

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let rounds = rounds()?;
    let programs = Programs::find()?;
    let busybox = find_program("busybox").ok_or("there is no busybox (Debian: busybox-static)")?;
    let docker = Docker::start().ok_or("there is no engine to measure on")?;
    let context = Directory::new();
    for (from, name) in [(&programs.handfast, "handfast"), (&programs.noop, "noop"), (&busybox, "busybox")] {
        fs::copy(from, context.path().join(name))?;
    }
    for (name, dockerfile) in IMAGES {
        context.write("Dockerfile", dockerfile);
        docker.build(name, context.path(), &[]);
    }
    println!(
        "image of handfast alone: {} bytes",
        docker.must(&["image", "inspect", "--format", "{{.Size}}", "handfast"])
    );
    memory::print(&docker)?;
    compare(&docker, rounds)
}

/// The number of starts of each contender: `--rounds N`. Cargo itself passes `--bench`.
fn rounds() -> Result<usize> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(100),
        (Some("--rounds"), Some(count)) => Ok(count.parse::<usize>()?.max(1)),
        (Some(other), _) => Err(format!("unknown argument `{other}`, expected `--rounds N`").into()),
    }
}

/// Starts each contender in turn. For each contender with handfast, prints the median of the differences to the same contender
/// without handfast, round by round.
fn compare(docker: &Docker, rounds: usize) -> Result<()> {
    let pairs = contenders::pairs(docker)?;
    let contenders: Vec<_> = pairs.into_iter().flatten().collect();
    let samples = timing::interleaved(&contenders, rounds)?;
    println!("\ndocker run, {rounds} rounds, milliseconds:");
    println!("{:<28}{:>10}{:>10}{:>10}{:>14}", "", "min", "median", "p90", "added, median");
    for (index, (contender, times)) in contenders.iter().zip(&samples).enumerate() {
        let added = match index % 2 {
            0 => String::new(),
            _ => format!("{:.2}", times.over(&samples[index - 1]).median() / 1000.0),
        };
        let [minimum, median, tail] = [times.minimum(), times.median(), times.percentile(90)].map(|time| time / 1000.0);
        println!("{:<28}{minimum:>10.2}{median:>10.2}{tail:>10.2}{added:>14}", contender.name);
    }
    Ok(())
}
