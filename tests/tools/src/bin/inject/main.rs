//! `inject [OPTION]… -- COMMAND…`: runs a handfast whose worker is compromised.
//!
//! Runs COMMAND under ptrace until a forked process is in its sandbox and has been told to begin. The tool stops this process
//! there, and makes it execute an attacker's system calls as if its own code made them, so that its seccomp filter and its
//! Landlock rules apply. Then the process continues where it was stopped. Exits with COMMAND's code, or with 99. Needs root.
//!
//! - `--out FILE`: the result of each attempt, one line for each; see `report.rs`.
//! - `--place DIRECTORY`: an empty directory for the attacked files.
//! - `--terminal`: standard error is a terminal, which is attacked too.
//! - `--unix`: the plan has a `unix://` address and no other address: the worker may open Unix sockets, but resolves no names.
//! - `--landlock VERSION`: every query for Landlock's version returns this version; 0 means that there is no Landlock.
//!
//! Without `--place`, the tool does not attack the worker; use this to set only `--landlock`.

#![no_main]

mod attacks;
mod effects;
mod follow;
mod machine;
mod report;
mod terminal;
mod victim;
mod worker;

use std::ffi::{CString, OsString, c_char, c_int};

use handfast_testtools::start::{arguments, fail, value, words};

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    Options::parse(arguments).and_then(|options| run(&options)).unwrap_or_else(|why| fail("inject", &why))
}

/// The command line.
#[derive(Default)]
pub struct Options {
    out: Option<String>,
    place: Option<String>,
    terminal: bool,
    unix: bool,
    landlock: Option<u32>,
    command: Vec<CString>,
}

impl Options {
    fn parse(arguments: Vec<OsString>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            match argument.to_str() {
                Some("--out") => options.out = Some(value("--out", &mut rest)?),
                Some("--place") => options.place = Some(value("--place", &mut rest)?),
                Some("--terminal") => options.terminal = true,
                Some("--unix") => options.unix = true,
                Some("--landlock") => {
                    let version = value("--landlock", &mut rest)?;
                    options.landlock = Some(version.parse().map_err(|_| "--landlock needs a number")?);
                }
                Some("--") => options.command = words(&mut rest)?,
                _ => return Err(format!("unknown argument {}", argument.display())),
            }
        }
        if options.command.is_empty() { Err("no command".into()) } else { Ok(options) }
    }
}

fn run(options: &Options) -> Result<c_int, String> {
    let terminal =
        options.terminal.then(terminal::Terminal::open).transpose().map_err(|error| format!("pty: {error}"))?;
    let mut report = report::Report::default();
    let result = follow::follow(options, terminal.as_ref(), &mut report);
    if let Some(terminal) = terminal {
        terminal.close();
    }
    let text = report.text();
    match &options.out {
        Some(out) => std::fs::write(out, text).map_err(|error| format!("cannot write {out}: {error}"))?,
        None => print!("{text}"),
    }
    result.map_err(|error| format!("cannot follow the command: {error}"))
}
