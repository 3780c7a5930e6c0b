//! The command from its start to its end, with what is done to its worker on the way.

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

/// PTRACE_EVENT_STOP, which not every C library has.
const EVENT_STOP: c_int = 128;

/// Where its worker is.
#[derive(PartialEq)]
enum Stage {
    /// Nowhere, or not in its cage yet.
    Free,
    /// In its cage.
    Caged(libc::pid_t),
    /// Done with.
    Over,
}

struct Follower<'o> {
    options: &'o Options,
    terminal: Option<&'o Terminal>,
    report: &'o mut Report,
    root: libc::pid_t,
    stage: Stage,
    /// The number and the arguments of the system call that a process is in.
    calls: HashMap<libc::pid_t, [i64; 7]>,
}

/// Until no process is left; the first one's exit code.
pub fn follow(options: &Options, terminal: Option<&Terminal>, report: &mut Report) -> io::Result<c_int> {
    let start = || trace::start(&options.command, TRACED);
    let root = terminal.map_or_else(|| Ok(start()), |terminal| terminal.during(start))??;
    // From here on there is a second thread, after the last fork that needs there to be none.
    let drain = terminal.map(Terminal::drain).transpose()?;
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
    drop(drain);
    Ok(code)
}

impl Follower<'_> {
    fn stopped(&mut self, process: libc::pid_t, status: c_int) -> io::Result<()> {
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if signal == libc::SIGTRAP | 0x80 {
            // One that was killed meanwhile is nowhere.
            let Ok(information) = system_call(process) else { return Ok(()) };
            self.at_call(process, information)?;
        }
        if event == EVENT_STOP && signal != libc::SIGTRAP {
            // Stopped by a signal, and it stays so.
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
            // The byte that tells it to begin.
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

    /// Landlock's version as it shall be, and none of the errata that newer ones can be asked for.
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
