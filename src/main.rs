//! handfast: see `lib.rs` for the stages, and `commands/run.rs` for their order.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    handfast::main(std::env::args_os().collect())
}
