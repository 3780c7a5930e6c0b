//! `steps --out FILE -- COMMAND…`: how many instructions a launcher runs until it becomes another program.
//!
//! Runs COMMAND under ptrace, one instruction after the other, and those that it forks. Writes to FILE, as a JSON object, how many
//! the `first` process ran, and how many those that were `forked`: those of the processor in user mode alone. One that repeats itself
//! (`rep movsb`) is one, as a processor counts it. For COMMAND the clock goes on in system calls alone, so that no deadline passes
//! because each step is slow. Exits as COMMAND does, or 99. Needs root where COMMAND makes itself undumpable.

#![no_main]

mod clock;

use std::collections::HashMap;
use std::ffi::{CString, OsString, c_char, c_int};
use std::io;

use handfast_testtools::start::{arguments, fail, value, words};
use handfast_testtools::trace::{self, resume, system_call};
use serde_json::json;

use clock::Clock;

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
    let mut counted = Counted::default();
    let code = follow(command, &mut counted).map_err(|error| format!("cannot follow the command: {error}"))?;
    let text = format!("{}\n", json!({ "first": counted.first, "forked": counted.forked }));
    std::fs::write(out, text).map_err(|error| format!("cannot write {out}: {error}"))?;
    Ok(code)
}

/// What was run.
#[derive(Default)]
struct Counted {
    first: u64,
    forked: u64,
    /// Where each process is.
    at: HashMap<libc::pid_t, u64>,
}

impl Counted {
    /// A process is about to run the instruction at this address. Where it was there before, that one repeats itself, or the stop
    /// was for something else.
    fn step(&mut self, process: libc::pid_t, is_first: bool, address: u64) {
        if self.at.insert(process, address) != Some(address) {
            *(if is_first { &mut self.first } else { &mut self.forked }) += 1;
        }
    }
}

const TRACED: c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_EXITKILL;

/// Until no process is left; the first one's exit code.
fn follow(command: &[CString], counted: &mut Counted) -> io::Result<c_int> {
    let root = trace::start(command, TRACED)?;
    let (mut code, mut executed, mut clock) = (0, 0, Clock::default());
    while let Some((process, status)) = trace::wait()? {
        if !libc::WIFSTOPPED(status) {
            if process == root {
                code = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
            }
            continue;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if event == libc::PTRACE_EVENT_EXEC && process == root {
            executed += 1;
            if executed == 1 {
                clock.take_from(process)?;
            }
        }
        match executed {
            // Not the command yet.
            0 => resume(libc::PTRACE_CONT, process, 0)?,
            2.. if process == root => resume(libc::PTRACE_DETACH, process, 0)?,
            _ => {
                // One that was killed meanwhile is nowhere.
                let Ok(information) = system_call(process) else { continue };
                clock.stopped(process);
                let address = information[1];
                counted.step(process, process == root, address);
                let at_call = signal == libc::SIGTRAP | 0x80;
                let deliver = if event == 0 && !at_call && signal != libc::SIGTRAP { signal } else { 0 };
                let calls = match at_call {
                    true => clock.at_call(process, information)?,
                    false => clock.is_call(process, address),
                };
                resume(if calls { libc::PTRACE_SYSCALL } else { libc::PTRACE_SINGLESTEP }, process, deliver)?;
            }
        }
    }
    Ok(code)
}
