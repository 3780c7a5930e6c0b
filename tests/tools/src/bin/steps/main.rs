//! `steps --out FILE -- COMMAND…`: which code a launcher runs until it becomes another program.
//!
//! Runs COMMAND under ptrace, one instruction after the other, and those that it forks. Writes the address of each instruction that
//! was run, in hex, a line each, to FILE. Exits as COMMAND does, or 99. Needs root where COMMAND makes itself undumpable.

#![no_main]

use std::collections::BTreeSet;
use std::ffi::{CString, OsString, c_char, c_int};
use std::io;

use handfast_testtools::start::{arguments, fail, value, words};
use handfast_testtools::trace::{self, resume, system_call};

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    parse(arguments).and_then(|(out, command)| run(&out, &command)).unwrap_or_else(|why| fail("steps", &why))
}

fn parse(arguments: Vec<OsString>) -> Result<(String, Vec<CString>), String> {
    let (mut out, mut command) = (None, Vec::new());
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--out") => out = Some(value("--out", &mut rest)?),
            Some("--") => command = words(&mut rest)?,
            _ => return Err(format!("unknown argument {}", argument.display())),
        }
    }
    let out = out.ok_or("no --out")?;
    if command.is_empty() { Err("no command".into()) } else { Ok((out, command)) }
}

fn run(out: &str, command: &[CString]) -> Result<c_int, String> {
    let mut addresses = BTreeSet::new();
    let code = follow(command, &mut addresses).map_err(|error| format!("cannot follow the command: {error}"))?;
    let lines: String = addresses.iter().map(|address| format!("{address:x}\n")).collect();
    std::fs::write(out, lines).map_err(|error| format!("cannot write {out}: {error}"))?;
    Ok(code)
}

const TRACED: c_int =
    libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;

/// Until no process is left; the first one's exit code.
fn follow(command: &[CString], addresses: &mut BTreeSet<u64>) -> io::Result<c_int> {
    let root = trace::start(command, TRACED)?;
    let (mut code, mut executed) = (0, 0);
    while let Some((process, status)) = trace::wait()? {
        if !libc::WIFSTOPPED(status) {
            if process == root {
                code = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
            }
            continue;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        executed += usize::from(event == libc::PTRACE_EVENT_EXEC && process == root);
        match executed {
            // Not the command yet.
            0 => resume(libc::PTRACE_CONT, process, 0)?,
            2.. if process == root => resume(libc::PTRACE_DETACH, process, 0)?,
            _ => {
                // One that was killed meanwhile is nowhere.
                addresses.extend(system_call(process).map(|information| information[1]));
                let deliver = if event == 0 && signal != libc::SIGTRAP { signal } else { 0 };
                resume(libc::PTRACE_SINGLESTEP, process, deliver)?;
            }
        }
    }
    Ok(code)
}
