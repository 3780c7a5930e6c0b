//! Measures starts with secrets of AWS, over TLS, against moto: the time compared with hand-written code, and the memory.
//!
//! `cargo bench --bench aws [-- --rounds N | -- --instructions]`; `benches/README.md` has the method and the results.
#![forbid(unsafe_code)]
// A benchmark prints, unlike the product.
#![allow(clippy::print_stdout)]

#[path = "../vault/comparison.rs"]
mod comparison;
#[path = "../vault/contender.rs"]
mod contender;
mod contenders;
#[path = "../vault/footprint.rs"]
mod footprint;
#[path = "../vault/instructions.rs"]
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

use handfast_testservers::Moto;
use serde_json::json;

use comparison::COUNTS;
use contenders::Setting;
use programs::Programs;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let measured = comparison::measured()?;
    let programs = Programs::find()?;
    let Some(moto) = Moto::shared() else { return Err("there is no moto to measure against".into()) };
    for number in 0..COUNTS[COUNTS.len() - 1] {
        let body = json!({ "Name": format!("secret-{number}"), "SecretString": "x".repeat(32) });
        moto.must("secretsmanager.CreateSecret", body);
    }
    let mut setting = Setting::new(moto, &programs)?;
    measured.print(&mut setting)
}
