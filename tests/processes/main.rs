//! Cases that change, lock down or end their own process, which the threads of the standard harness would share.
//!
//! So this test has a `main` of its own, which runs itself again for each case; its first argument names the case.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

mod lockdown;
mod panics;
mod worker_cage;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["subject", ..] => lockdown::subject(&arguments[1..]),
        ["probe"] => lockdown::probe(),
        ["caged", part, directory, port] => worker_cage::caged(part, directory.as_ref(), port.parse().unwrap()),
        ["panic", case, format] => panics::panic_as(case, format),
        _ => {
            let filters: Vec<String> = arguments.into_iter().filter(|word| !word.starts_with('-')).collect();
            let is_wanted =
                |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
            let passed = [lockdown::run(&is_wanted), worker_cage::run(&is_wanted), panics::run(&is_wanted)];
            if passed.contains(&false) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}
