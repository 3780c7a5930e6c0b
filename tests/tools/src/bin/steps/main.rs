//! `steps --out FILE -- COMMAND…`: counts the instructions that a launcher runs until it becomes another program.
//!
//! Runs COMMAND, and the processes that it forks, under ptrace, one instruction after the other. Writes a JSON object to FILE
//! with the number of instructions that the `first` process ran, and the number that the `forked` processes ran, all in user
//! mode. A repeated instruction (`rep movsb`) counts once, as in a processor's counter. For COMMAND, time passes only in system
//! calls, so the slow steps exceed no deadline. Exits with COMMAND's code, or with 99. Needs root if COMMAND makes itself
//! undumpable.

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

/// The counted instructions.
#[derive(Default)]
struct Counted {
    first: u64,
    forked: u64,
    /// The last address of each process.
    at: HashMap<libc::pid_t, u64>,
}

impl Counted {
    /// Counts the instruction at this address, which the process is about to run. If the address is the same as before, the
    /// instruction repeats itself, or the stop had another cause.
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

/// Follows all processes until none is left. Returns the exit code of the first process.
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
            // The process is not the command yet.
            0 => resume(libc::PTRACE_CONT, process, 0)?,
            2.. if process == root => resume(libc::PTRACE_DETACH, process, 0)?,
            _ => {
                // The process was killed meanwhile.
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
