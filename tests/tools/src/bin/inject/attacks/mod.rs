//! What is attempted, and what must come of it: section "The worker" of docs/security.md, as calls.

mod files;
mod kernel;
mod network;
mod processes;
mod terminals;
mod work;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};

use nix::errno::Errno;

use crate::Options;
use crate::report::Report;
use crate::terminal::Terminal;
use crate::victim::{ABSTRACT, Victim};
use crate::worker::Worker;

/// What must come of an attempt.
#[derive(Clone, Copy)]
pub enum Must {
    /// Refused by the cage: EPERM, EACCES or ENOSYS.
    Fail,
    /// As if the kernel did not know it.
    BeUnknown,
    /// It is what a fetch does.
    Work,
    /// It is what a fetch does, and so it comes as far as this error of the kernel's.
    EndWith(Errno),
    /// Nothing: it is only told.
    Anything,
}

/// A system call: its number, and its arguments, of which those that are not there are 0.
pub struct Call(pub i64, pub Vec<i64>);

/// In the place of an argument: the result of the first call of the same attempt.
pub const FIRST: i64 = 0x5ec0_1001;

/// One after the other, until one fails.
struct Attempt {
    name: String,
    must: Must,
    calls: Vec<Call>,
    interrupted: bool,
}

/// Addresses and numbers that attempts are made of.
pub struct Targets {
    /// A file, and others; all may do with them what they like.
    pub file: i64,
    pub other: i64,
    pub directory: i64,
    pub program: i64,
    /// Names in that place that are not there.
    pub new: i64,
    /// The place itself.
    pub place: i64,
    /// What sockets are connected to.
    pub unix: (i64, i64),
    pub in_abstract: (i64, i64),
    /// Where there is no socket yet.
    pub own_unix: (i64, i64),
    pub server: (i64, i64),
    pub anywhere: (i64, i64),
    /// Zeroes, of which the kernel may also write some.
    pub scratch: i64,
    pub parent: i64,
    pub victim: i64,
    pub own: i64,
    /// Its socket to the privileged process.
    pub socket: i64,
    pub uid: i64,
    pub memory: i64,
    /// 0 where there is none.
    pub terminal: i64,
    /// Whether the plan has a Unix socket, and nothing else.
    pub has_unix: bool,
}

/// All attempts, and the memory that their arguments lie in.
pub struct Table {
    attempts: Vec<Attempt>,
    base: i64,
    bytes: Vec<u8>,
}

/// How much memory the worker is given for it.
const SIZE: i64 = 64 * 1024;

/// Memory in the worker that nothing else uses: its own call gives it.
pub fn memory(worker: &Worker) -> io::Result<i64> {
    let protection = i64::from(libc::PROT_READ | libc::PROT_WRITE);
    let kind = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    match worker.call(libc::SYS_mmap, [0, SIZE, protection, kind, -1, 0])? {
        address @ 1.. => Ok(address),
        error => Err(io::Error::other(format!("the worker gets no memory: {error}"))),
    }
}

/// Fills the place with what is attacked, all of it the worker's own; where a socket shall be.
pub fn lay_out(place: &str, worker: &Worker) -> io::Result<String> {
    let own = |name: &str, mode| {
        let path = format!("{place}/{name}");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        chown(&path, Some(worker.uid), Some(worker.gid))
    };
    fs::create_dir(format!("{place}/directory"))?;
    fs::create_dir(format!("{place}/full"))?;
    fs::write(format!("{place}/full/entry"), "content")?;
    for (name, content) in [("file", "content"), ("other", "content"), ("program", "#!/bin/sh\n")] {
        fs::write(format!("{place}/{name}"), content)?;
    }
    for name in ["directory", "full", "full/entry", "file", "other", "program"] {
        own(name, 0o777)?;
    }
    own("", 0o777)?;
    Ok(format!("{place}/socket"))
}

impl Table {
    /// What this worker shall attempt.
    pub fn make(
        worker: &Worker,
        victim: &Victim,
        place: &str,
        options: &Options,
        terminal: Option<&Terminal>,
    ) -> io::Result<Self> {
        let mut table = Self { attempts: Vec::new(), base: memory(worker)?, bytes: Vec::new() };
        let mut path = |name: &str| table.text(&format!("{place}/{name}"));
        let (file, other, directory) = (path("file"), path("other"), path("directory"));
        let (program, new, place_itself) = (path("program"), path("new"), path(""));
        let unix = table.unix_address(&format!("{place}/socket\0"));
        let in_abstract = table.unix_address(&format!("\0{ABSTRACT}-{}", std::process::id()));
        let targets = Targets {
            file,
            other,
            directory,
            program,
            new,
            place: place_itself,
            unix,
            in_abstract,
            own_unix: table.unix_address(&format!("{place}/new\0")),
            server: table.address([127, 0, 0, 1], victim.port),
            anywhere: table.address([0, 0, 0, 0], 0),
            scratch: table.put(&[0; 4096]),
            parent: worker.parent.into(),
            victim: victim.process.into(),
            own: worker.process.into(),
            socket: worker.socket()?,
            uid: worker.uid.into(),
            memory: victim.memory.into(),
            terminal: terminal.map_or(0, |terminal| table.text(&terminal.path)),
            has_unix: options.unix,
        };
        // First what must work: it shows that what follows fails for the right reason.
        work::add(&mut table, &targets);
        network::add(&mut table, &targets);
        files::add(&mut table, &targets);
        terminals::add(&mut table, &targets);
        processes::add(&mut table, &targets);
        kernel::add(&mut table, &targets);
        worker.write(table.base, &table.bytes)?;
        Ok(table)
    }

    /// Makes the worker attempt it all.
    pub fn try_all(&self, worker: &Worker, report: &mut Report) -> io::Result<()> {
        for attempt in &self.attempts {
            let mut results = Vec::new();
            for Call(number, given) in &attempt.calls {
                let argument = |at: usize| match given.get(at) {
                    Some(&FIRST) => results[0],
                    Some(argument) => *argument,
                    None => 0,
                };
                let arguments = std::array::from_fn(argument);
                let last = results.len() + 1 == attempt.calls.len();
                let result = match attempt.interrupted && last {
                    true => worker.call_interrupted(*number, arguments)?,
                    false => worker.call(*number, arguments)?,
                };
                results.push(result);
                if result < 0 {
                    break;
                }
            }
            // What it opened on the way is closed, and what it would leave behind on the machine is removed.
            for (Call(number, _), result) in attempt.calls.iter().zip(&results) {
                if *result >= 0 {
                    match *number {
                        libc::SYS_openat | libc::SYS_socket => {
                            worker.call(libc::SYS_close, [*result, 0, 0, 0, 0, 0])?;
                        }
                        _ => kernel::remove(*number, *result),
                    }
                }
            }
            report.attempt(&attempt.name, attempt.must, results.last().copied().unwrap_or_default());
        }
        Ok(())
    }

    /// Adds an attempt.
    pub fn add(&mut self, must: Must, name: &str, calls: Vec<Call>) {
        self.attempts.push(Attempt { name: name.into(), must, calls, interrupted: false });
    }

    /// Adds one whose last call waits, and is interrupted.
    pub fn add_interrupted(&mut self, must: Must, name: &str, call: Call) {
        self.attempts.push(Attempt { name: name.into(), must, calls: vec![call], interrupted: true });
    }

    /// Adds attempts that are a call each, and must be refused.
    pub fn refuse(&mut self, calls: &[(&str, i64, &[i64])]) {
        for (name, number, arguments) in calls {
            self.add(Must::Fail, name, vec![Call(*number, arguments.to_vec())]);
        }
    }

    /// Adds attempts that are a call each behind the same others, and must be refused.
    pub fn refuse_after(&mut self, first: &[(i64, &[i64])], calls: &[(&str, i64, &[i64])]) {
        for (name, number, arguments) in calls {
            let mut all: Vec<Call> = first.iter().map(|(number, given)| Call(*number, given.to_vec())).collect();
            all.push(Call(*number, arguments.to_vec()));
            self.add(Must::Fail, name, all);
        }
    }

    /// Bytes; where they will be in the worker.
    pub fn put(&mut self, bytes: &[u8]) -> i64 {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        // What follows is aligned as anything may have to be.
        self.bytes.resize(self.bytes.len().next_multiple_of(16), 0);
        assert!(self.bytes.len() < SIZE as usize, "the worker has as much memory for it");
        self.base + at as i64
    }

    /// A C string.
    pub fn text(&mut self, text: &str) -> i64 {
        self.put(format!("{text}\0").as_bytes())
    }

    /// Words of 64 bits.
    pub fn words(&mut self, words: &[i64]) -> i64 {
        self.put(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
    }

    fn unix_address(&mut self, path: &str) -> (i64, i64) {
        let mut bytes = vec![libc::AF_UNIX as u8, 0];
        bytes.extend_from_slice(path.as_bytes());
        (self.put(&bytes), bytes.len() as i64)
    }

    fn address(&mut self, host: [u8; 4], port: u16) -> (i64, i64) {
        let mut bytes = vec![libc::AF_INET as u8, 0];
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes.extend_from_slice(&host);
        bytes.extend_from_slice(&[0; 8]);
        (self.put(&bytes), bytes.len() as i64)
    }
}
