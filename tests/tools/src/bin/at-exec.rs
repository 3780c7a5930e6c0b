//! `at-exec [--out FILE] [--nth N] [--needle HEX…] -- COMMAND…`: what a launcher's processes hold in memory when each is done.
//!
//! Runs COMMAND under ptrace and scans
//! - its first process at the entry of the execve by which it becomes the app (its `--nth` successful one, 2 unless told;
//!   the first is the start of COMMAND itself), or at its exit where it never gets there: `privileged`;
//! - the same process just after that execve: `app`, which is then let go;
//! - each process forked before, when it exits: `worker`.
//!
//! Prints one JSON array (to FILE, or else after the command's own output) of objects with `process`, `at`, `pid`,
//! `peak_kib` (the most memory that it had in use so far, VmHWM), `bytes_scanned` and `hits`; without needles it scans nothing. Exits as COMMAND does, or 99. Needs root where COMMAND makes itself undumpable.

#![no_main]

use std::collections::HashSet;
use std::ffi::{CString, OsString, c_char, c_int};
use std::io::{self, Write};

use handfast_testtools::memory;
use handfast_testtools::needle::Needle;
use handfast_testtools::search::Search;
use handfast_testtools::start::{arguments, fail, value, words};
use handfast_testtools::trace::{self, resume, system_call};
use serde_json::{Value, json};

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    Options::parse(arguments).and_then(|options| run(&options)).unwrap_or_else(|why| fail("at-exec", &why))
}

struct Options {
    out: Option<String>,
    nth: usize,
    needles: Vec<Needle>,
    command: Vec<CString>,
}

impl Options {
    fn parse(arguments: Vec<OsString>) -> Result<Self, String> {
        let mut options = Self { out: None, nth: 2, needles: Vec::new(), command: Vec::new() };
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            match argument.to_str() {
                Some("--out") => options.out = Some(value("--out", &mut rest)?),
                Some("--nth") => {
                    options.nth = value("--nth", &mut rest)?.parse().map_err(|_| "--nth needs a number")?
                }
                Some("--needle") => options.needles.push(Needle::from_hex(&value("--needle", &mut rest)?)?),
                Some("--") => options.command = words(&mut rest)?,
                _ => return Err(format!("unknown argument {}", argument.display())),
            }
        }
        if options.command.is_empty() { Err("no command".into()) } else { Ok(options) }
    }
}

fn run(options: &Options) -> Result<c_int, String> {
    let root = trace::start(&options.command, TRACED).map_err(|error| format!("cannot start the command: {error}"))?;
    let mut tracer = Tracer {
        root,
        nth: options.nth,
        scans: !options.needles.is_empty(),
        search: Search::new(&options.needles),
        executed: 0,
        at_entry: None,
        reports: Vec::new(),
        gone: HashSet::new(),
    };
    let code = tracer.follow().map_err(|error| format!("cannot follow the command: {error}"))?;
    let report = format!("{}\n", Value::Array(tracer.reports));
    match &options.out {
        Some(path) => std::fs::write(path, report),
        None => io::stdout().write_all(report.as_bytes()),
    }
    .map_err(|error| format!("cannot write the report: {error}"))?;
    Ok(code)
}

const TRACED: c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEEXIT
    | libc::PTRACE_O_EXITKILL;

struct Tracer {
    root: libc::pid_t,
    nth: usize,
    scans: bool,
    search: Search,
    /// How many times the root has executed something.
    executed: usize,
    /// What the root held at the execve that it is in: whether that succeeds is known only afterwards.
    at_entry: Option<Value>,
    reports: Vec<Value>,
    gone: HashSet<libc::pid_t>,
}

impl Tracer {
    /// Until no process is left; the root's exit code.
    fn follow(&mut self) -> io::Result<c_int> {
        let mut code = 0;
        while let Some((process, status)) = trace::wait()? {
            if libc::WIFSTOPPED(status) {
                self.stopped(process, libc::WSTOPSIG(status), status >> 16)?;
            } else if process == self.root {
                let signal = libc::WIFSIGNALED(status).then(|| 128 + libc::WTERMSIG(status));
                code = signal.unwrap_or_else(|| libc::WEXITSTATUS(status));
            }
        }
        Ok(code)
    }

    fn stopped(&mut self, process: libc::pid_t, signal: c_int, event: c_int) -> io::Result<()> {
        let root = process == self.root;
        let deliver = match (event, signal) {
            (libc::PTRACE_EVENT_EXEC, _) if root => return self.executed(),
            (libc::PTRACE_EVENT_EXIT, _) => {
                self.exiting(process)?;
                0
            }
            // A stop of the whole group stays one, until CONT.
            (libc::PTRACE_EVENT_STOP, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => {
                return resume(libc::PTRACE_LISTEN, process, 0);
            }
            (0, stop) if stop == libc::SIGTRAP | 0x80 => {
                if root && enters_execve(process)? {
                    self.at_entry = Some(self.report("privileged", "execve", process)?);
                }
                0
            }
            (0, signal) => signal,
            _ => 0,
        };
        // Only the root is stopped at each call; and that only once it has started, when it can be the launcher.
        let request = if root && self.executed > 0 { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
        resume(request, process, deliver)
    }

    fn executed(&mut self) -> io::Result<()> {
        self.executed += 1;
        if self.executed < self.nth {
            return resume(libc::PTRACE_SYSCALL, self.root, 0);
        }
        self.reports.extend(self.at_entry.take());
        let app = self.report("app", "execve", self.root)?;
        self.reports.push(app);
        resume(libc::PTRACE_DETACH, self.root, 0)
    }

    /// A process about to exit, its memory still whole. Threads share it, so only the first of them counts.
    fn exiting(&mut self, process: libc::pid_t) -> io::Result<()> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let leader =
            status.lines().any(|line| line.strip_prefix("Tgid:").is_some_and(|id| id.trim() == process.to_string()));
        if leader && self.gone.insert(process) {
            let name = if process == self.root { "privileged" } else { "worker" };
            let report = self.report(name, "exit", process)?;
            self.reports.push(report);
        }
        Ok(())
    }

    fn report(&self, name: &str, at: &str, process: libc::pid_t) -> io::Result<Value> {
        // Before the scan, which makes pages present that were not.
        let peak = memory::peak_kib(&process.to_string())?;
        let found =
            if self.scans { memory::scan(&process.to_string(), &self.search)? } else { memory::Report::default() };
        Ok(json!({
            "process": name, "at": at, "pid": process, "peak_kib": peak, "bytes_scanned": found.scanned,
            "bytes_unreadable": found.unreadable, "hits": found.hits,
        }))
    }
}

/// Whether this stop at a system call is the entry of an execve.
fn enters_execve(process: libc::pid_t) -> io::Result<bool> {
    // The fourth word of an entry is the call's number.
    const ENTRY: u8 = 1;
    let information = system_call(process)?;
    let entry = information[0].to_ne_bytes()[0] == ENTRY;
    let execves = [libc::SYS_execve, libc::SYS_execveat];
    Ok(entry && execves.iter().any(|call| u64::try_from(*call) == Ok(information[3])))
}
