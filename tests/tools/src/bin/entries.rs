//! `entries --at FILE --out FILE -- COMMAND…`: which functions a launcher runs until it becomes another program.
//!
//! Runs COMMAND, which is a program at a fixed address, under ptrace, and those that it forks, with a breakpoint at each of the addresses
//! in FILE (hex, a line each). If COMMAND becomes another program, writes those that were reached to the other FILE, a line each, and after each
//! `first` or `forked`: by which process. What was reached before a fork counts for the first only. Exits as COMMAND does, or 99.
//! Needs root where COMMAND makes itself undumpable, and x86_64.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString, c_char, c_int};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use handfast_testtools::start::{arguments, fail, value, words};
use handfast_testtools::trace::{self, resume};

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    parse(arguments).and_then(|parsed| parsed.run()).unwrap_or_else(|why| fail("entries", &why))
}

struct Call {
    at: String,
    out: String,
    command: Vec<CString>,
}

fn parse(arguments: Vec<OsString>) -> Result<Call, String> {
    let (mut at, mut out, mut command) = (None, None, Vec::new());
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--at") => at = Some(value("--at", &mut rest)?),
            Some("--out") => out = Some(value("--out", &mut rest)?),
            Some("--") => command = words(&mut rest)?,
            _ => return Err(format!("unknown argument {}", argument.display())),
        }
    }
    match (at, out) {
        (Some(at), Some(out)) if !command.is_empty() => Ok(Call { at, out, command }),
        _ => Err("needs --at, --out and a command".into()),
    }
}

impl Call {
    fn run(self) -> Result<c_int, String> {
        let text = std::fs::read_to_string(&self.at).map_err(|error| format!("cannot read {}: {error}", self.at))?;
        let places: Option<BTreeSet<u64>> = text.lines().map(|line| u64::from_str_radix(line, 16).ok()).collect();
        let places = places.filter(|places| !places.is_empty()).ok_or("an address is no hex number")?;
        let mut followed = Followed { places, before: BTreeMap::new(), reached: BTreeMap::new() };
        let (code, became) =
            followed.follow(&self.command).map_err(|error| format!("cannot follow the command: {error}"))?;
        if became {
            let lines: String =
                followed.reached.iter().map(|(address, process)| format!("{address:x} {process}\n")).collect();
            std::fs::write(&self.out, lines).map_err(|error| format!("cannot write {}: {error}", self.out))?;
        }
        Ok(code)
    }
}

const TRACED: c_int =
    libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;

/// `int3`.
const BREAKPOINT: u8 = 0xcc;

struct Followed {
    places: BTreeSet<u64>,
    /// What stands there without the breakpoint.
    before: BTreeMap<u64, u8>,
    reached: BTreeMap<u64, &'static str>,
}

impl Followed {
    /// Until no process is left; the first one's exit code, and whether it became another program.
    fn follow(&mut self, command: &[CString]) -> io::Result<(c_int, bool)> {
        let root = trace::start(command, TRACED)?;
        let (mut code, mut executed) = (0, 0);
        while let Some((process, status)) = trace::wait()? {
            if !libc::WIFSTOPPED(status) {
                if process == root {
                    code = if libc::WIFSIGNALED(status) {
                        128 + libc::WTERMSIG(status)
                    } else {
                        libc::WEXITSTATUS(status)
                    };
                }
                continue;
            }
            let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
            if event == libc::PTRACE_EVENT_EXEC && process == root {
                executed += 1;
                match executed {
                    1 => self.set(process)?,
                    _ => {
                        resume(libc::PTRACE_DETACH, process, 0)?;
                        continue;
                    }
                }
            }
            let met = event == 0 && signal == libc::SIGTRAP && executed > 0 && self.meet(process, process == root)?;
            resume(libc::PTRACE_CONT, process, if met || event != 0 { 0 } else { signal })?;
        }
        Ok((code, executed > 1))
    }

    /// Puts a breakpoint at each place. What is forked later has them too, but those that were reached before.
    fn set(&mut self, process: libc::pid_t) -> io::Result<()> {
        let (Some(first), Some(last)) = (self.places.first(), self.places.last()) else { return Ok(()) };
        let length = usize::try_from(last - first).map_err(io::Error::other)? + 1;
        let mut text = vec![0; length];
        let memory = memory(process)?;
        memory.read_exact_at(&mut text, *first)?;
        for place in &self.places {
            let byte =
                usize::try_from(place - first).ok().and_then(|at| text.get_mut(at)).ok_or(io::ErrorKind::NotFound)?;
            self.before.insert(*place, std::mem::replace(byte, BREAKPOINT));
        }
        memory.write_all_at(&text, *first)
    }

    /// Whether the process stands behind a breakpoint: then that is taken away, and the process is where it was.
    fn meet(&mut self, process: libc::pid_t, first: bool) -> io::Result<bool> {
        let place = trace::instruction(process)?.wrapping_sub(1);
        let Some(byte) = self.before.get(&place) else { return Ok(false) };
        memory(process)?.write_all_at(&[*byte], place)?;
        trace::go_to(process, place)?;
        if first {
            self.reached.insert(place, "first");
        } else {
            self.reached.entry(place).or_insert("forked");
        }
        Ok(true)
    }
}

fn memory(process: libc::pid_t) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(format!("/proc/{process}/mem"))
}
