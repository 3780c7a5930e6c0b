//! `at-exec [--out FILE] [--nth N] [--needle HEX…] -- COMMAND…`: reports the memory of a launcher's processes at the end of
//! their work.
//!
//! Runs COMMAND under ptrace and scans:
//! - its first process at the entry of the execve that makes it the app (its `--nth` successful execve, by default the second;
//!   the first starts COMMAND itself), or at its exit if it never becomes the app: `privileged`;
//! - the same process just after this execve: `app`; the tool then detaches from it;
//! - each process that was forked before, when it exits: `worker`.
//!
//! Prints one JSON array (to FILE, or else after the command's own output) of objects with `process`, `at`, `pid`, `peak_kib`
//! (the peak memory so far, VmHWM), `bytes_scanned` and `hits`. Without needles, it scans nothing. Exits with COMMAND's code,
//! or with 99. Needs root if COMMAND makes itself undumpable.

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
    /// The number of successful execves of the root process.
    executed: usize,
    /// The report on the root process at the entry of its current execve. Whether the execve succeeds is known only afterwards.
    at_entry: Option<Value>,
    reports: Vec<Value>,
    gone: HashSet<libc::pid_t>,
}

impl Tracer {
    /// Follows all processes until none is left. Returns the exit code of the root process.
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
            // A group stop stays in effect until CONT.
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
        // Only the root process stops at each system call, and only from the start of COMMAND on, when it can be the launcher.
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

    /// Reports a process that is about to exit and still has its memory. Threads share the memory, so only the group leader
    /// counts.
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
        // Read the peak first: the scan itself makes more pages present.
        let peak = memory::peak_kib(&process.to_string())?;
        let found =
            if self.scans { memory::scan(&process.to_string(), &self.search)? } else { memory::Report::default() };
        Ok(json!({
            "process": name, "at": at, "pid": process, "peak_kib": peak, "bytes_scanned": found.scanned,
            "bytes_unreadable": found.unreadable, "hits": found.hits,
        }))
    }
}

/// Whether this system-call stop is the entry of an execve.
fn enters_execve(process: libc::pid_t) -> io::Result<bool> {
    // The fourth word of an entry stop is the number of the system call.
    const ENTRY: u8 = 1;
    let information = system_call(process)?;
    let entry = information[0].to_ne_bytes()[0] == ENTRY;
    let execves = [libc::SYS_execve, libc::SYS_execveat];
    Ok(entry && execves.iter().any(|call| u64::try_from(*call) == Ok(information[3])))
}
