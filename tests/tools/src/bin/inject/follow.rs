//! Follows the command from its start to its end, and attacks its worker on the way.

use std::collections::HashMap;
use std::ffi::c_int;
use std::io;

use handfast_testtools::trace::{self, resume, system_call};

use crate::Options;
use crate::attacks::{self, Table};
use crate::effects::State;
use crate::machine::Registers;
use crate::report::Report;
use crate::terminal::Terminal;
use crate::victim::Victim;
use crate::worker::{ENTRY, EXIT, Worker, is_socket};

const TRACED: c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_EXITKILL;

/// PTRACE_EVENT_STOP, which not every C library defines.
const EVENT_STOP: c_int = 128;

/// The state of the command's worker.
#[derive(PartialEq)]
enum Stage {
    /// It does not exist, or is not in its sandbox yet.
    Free,
    /// It is in its sandbox.
    Caged(libc::pid_t),
    /// The attack is over.
    Over,
}

struct Follower<'o> {
    options: &'o Options,
    terminal: Option<&'o Terminal>,
    report: &'o mut Report,
    root: libc::pid_t,
    stage: Stage,
    /// The number and the arguments of the current system call of each process.
    calls: HashMap<libc::pid_t, [i64; 7]>,
}

/// Follows all processes until none is left. Returns the exit code of the first process.
pub fn follow(options: &Options, terminal: Option<&Terminal>, report: &mut Report) -> io::Result<c_int> {
    let start = || trace::start(&options.command, TRACED);
    let root = terminal.map_or_else(|| Ok(start()), |terminal| terminal.during(start))??;
    // This starts a second thread. The last fork that needs a single thread is done.
    terminal.map(Terminal::drain).transpose()?;
    let mut follower = Follower { options, terminal, report, root, stage: Stage::Free, calls: HashMap::new() };
    let mut code = 0;
    while let Some((process, status)) = trace::wait()? {
        if !libc::WIFSTOPPED(status) {
            if process == root {
                code = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
            }
            continue;
        }
        follower.stopped(process, status)?;
    }
    Ok(code)
}

impl Follower<'_> {
    fn stopped(&mut self, process: libc::pid_t, status: c_int) -> io::Result<()> {
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if signal == libc::SIGTRAP | 0x80 {
            // The process was killed meanwhile.
            let Ok(information) = system_call(process) else { return Ok(()) };
            self.at_call(process, information)?;
        }
        if event == EVENT_STOP && signal != libc::SIGTRAP {
            // A signal has stopped the process; it stays stopped.
            return resume(libc::PTRACE_LISTEN, process, 0);
        }
        let deliver = if event == 0 && signal != libc::SIGTRAP | 0x80 && signal != libc::SIGTRAP { signal } else { 0 };
        let looks = match self.stage {
            Stage::Free => process != self.root || self.options.landlock.is_some(),
            Stage::Caged(worker) => process == worker,
            Stage::Over => self.options.landlock.is_some(),
        };
        resume(if looks { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT }, process, deliver)
    }

    fn at_call(&mut self, process: libc::pid_t, information: [u64; 11]) -> io::Result<()> {
        let words = information.map(u64::cast_signed);
        if information[0] & 0xff == ENTRY {
            let call = [words[3], words[4], words[5], words[6], words[7], words[8], words[9]];
            self.calls.insert(process, call);
        } else if information[0] & 0xff == EXIT
            && let Some(call) = self.calls.remove(&process)
        {
            return self.call_has_ended(process, call, words[3]);
        }
        Ok(())
    }

    fn call_has_ended(&mut self, process: libc::pid_t, call: [i64; 7], result: i64) -> io::Result<()> {
        match (call[0], call[1]) {
            (libc::SYS_landlock_create_ruleset, 0) => self.answer(process, call[3]),
            (libc::SYS_seccomp, MODE_FILTER) if result == 0 && process != self.root && self.stage == Stage::Free => {
                self.stage = Stage::Caged(process);
                Ok(())
            }
            // The worker has read the byte that tells it to begin.
            (libc::SYS_read | libc::SYS_recvfrom | libc::SYS_recvmsg, number)
                if result == 1
                    && self.stage == Stage::Caged(process)
                    && is_socket(process, i32::try_from(number).unwrap_or(-1)) =>
            {
                self.begun(process)
            }
            _ => Ok(()),
        }
    }

    /// Answers with the configured version of Landlock, and with no errata, which newer kernels can report.
    fn answer(&self, process: libc::pid_t, flags: i64) -> io::Result<()> {
        let result = match (self.options.landlock, flags) {
            (None, _) | (_, 0) => return Ok(()),
            (Some(0), _) => -i64::from(libc::ENOSYS),
            (Some(version), 1) => version.into(),
            (Some(_), _) => -i64::from(libc::EINVAL),
        };
        Registers::of(process)?.returning(result).put(process)
    }

    fn begun(&mut self, process: libc::pid_t) -> io::Result<()> {
        let Some(place) = &self.options.place else {
            return Ok(());
        };
        self.stage = Stage::Over;
        let worker = Worker::hold(process)?;
        let socket = attacks::lay_out(place, &worker)?;
        if let Some(terminal) = self.terminal {
            terminal.belong_to(worker.uid)?;
        }
        let victim = Victim::new(worker.uid, worker.gid, &socket)?;
        let table = Table::make(&worker, &victim, place, self.options, self.terminal)?;
        let before = State::now(&worker, victim.process, place, self.terminal)?;
        table.try_all(&worker, self.report)?;
        let after = State::now(&worker, victim.process, place, self.terminal)?;
        for (name, was, is) in before.compare(&after) {
            self.report.effect(name, was, is);
        }
        worker.restore()
    }
}

const MODE_FILTER: i64 = libc::SECCOMP_SET_MODE_FILTER as i64;
