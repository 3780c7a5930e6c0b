//! `inject [OPTION]… -- COMMAND…`: a handfast whose worker has been taken over.
//!
//! Runs COMMAND under ptrace until a process that it forked stands in its cage and has been told to begin. That one is stopped there, and made to
//! execute system calls of an attacker's: as if its own code made them, so that its filter and its rules judge them. Then it goes on
//! where it was, and COMMAND must end as it does without us: exits as it does, or 99. Needs root.
//!
//! - `--out FILE`: what became of each attempt, a line each; see `report.rs`.
//! - `--place DIRECTORY`: an empty directory for what is attacked.
//! - `--terminal`: standard error is a terminal, which is attacked too.
//! - `--unix`: the plan has a `unix://` address and no other: the worker may open Unix sockets, and look no name up.
//! - `--landlock VERSION`: each question for Landlock's version is answered so; 0: there is none.
//!
//! Without `--place` the worker is left alone: `--landlock` may be all that is wanted.

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

/// What is asked for.
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
