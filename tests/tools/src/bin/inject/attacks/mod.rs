//! All attacks and their required results: the section "What a compromised worker can still do" of docs/security.md, as system
//! calls.

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

/// The required result of an attempt.
#[derive(Clone, Copy)]
pub enum Must {
    /// The sandbox refuses it: EPERM, EACCES or ENOSYS.
    Fail,
    /// The result is the same as for a call that the kernel does not know.
    BeUnknown,
    /// A fetch needs it, so it works.
    Work,
    /// A fetch needs it, so it reaches the kernel and fails there with this error.
    EndWith(Errno),
    /// Any result is allowed; it is only reported.
    Anything,
}

/// A system call: its number and its arguments. Missing arguments are 0.
pub struct Call(pub i64, pub Vec<i64>);

/// Stands for the result of the first call of the same attempt.
pub const FIRST: i64 = 0x5ec0_1001;

/// Calls that run one after the other until one fails.
struct Attempt {
    name: String,
    must: Must,
    calls: Vec<Call>,
    interrupted: bool,
}

/// Addresses and numbers that the attempts use.
pub struct Targets {
    /// Existing files and directories, which everybody may read and write.
    pub file: i64,
    pub other: i64,
    pub directory: i64,
    pub program: i64,
    /// Names in `place` that do not exist.
    pub new: i64,
    /// The directory of the attacked files.
    pub place: i64,
    /// Addresses to which sockets connect.
    pub unix: (i64, i64),
    pub in_abstract: (i64, i64),
    /// An address at which no socket exists yet.
    pub own_unix: (i64, i64),
    pub server: (i64, i64),
    pub anywhere: (i64, i64),
    /// A zeroed buffer, to which the kernel may also write.
    pub scratch: i64,
    pub parent: i64,
    pub victim: i64,
    pub own: i64,
    /// The worker's socket to the privileged process.
    pub socket: i64,
    pub uid: i64,
    pub memory: i64,
    /// The path of the terminal; 0 if there is none.
    pub terminal: i64,
    /// Whether the plan has a Unix socket and no network address.
    pub has_unix: bool,
}

/// All attempts, and the memory with their arguments.
pub struct Table {
    attempts: Vec<Attempt>,
    base: i64,
    bytes: Vec<u8>,
}

/// The size of the memory that is mapped into the worker.
const SIZE: i64 = 64 * 1024;

/// Maps memory that nothing else in the worker uses, with a call of the worker itself.
pub fn memory(worker: &Worker) -> io::Result<i64> {
    let protection = i64::from(libc::PROT_READ | libc::PROT_WRITE);
    let kind = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    match worker.call(libc::SYS_mmap, [0, SIZE, protection, kind, -1, 0])? {
        address @ 1.. => Ok(address),
        error => Err(io::Error::other(format!("the worker gets no memory: {error}"))),
    }
}

/// Fills the directory with files for the attacks, all of them owned by the worker. Returns the path for a socket.
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
    /// Builds the attempts for this worker.
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
        // The calls that must work come first: they show that later calls fail for the right reason.
        work::add(&mut table, &targets);
        network::add(&mut table, &targets);
        files::add(&mut table, &targets);
        terminals::add(&mut table, &targets);
        processes::add(&mut table, &targets);
        kernel::add(&mut table, &targets);
        worker.write(table.base, &table.bytes)?;
        Ok(table)
    }

    /// Makes the worker execute all attempts.
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
            // Close the descriptors that the attempt opened, and remove the objects that it would leave behind on the machine.
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

    /// Adds an attempt whose last call waits and is interrupted.
    pub fn add_interrupted(&mut self, must: Must, name: &str, call: Call) {
        self.attempts.push(Attempt { name: name.into(), must, calls: vec![call], interrupted: true });
    }

    /// Adds attempts of one call each that must be refused.
    pub fn refuse(&mut self, calls: &[(&str, i64, &[i64])]) {
        for (name, number, arguments) in calls {
            self.add(Must::Fail, name, vec![Call(*number, arguments.to_vec())]);
        }
    }

    /// Adds attempts of one call each, after the same preparing calls, that must be refused.
    pub fn refuse_after(&mut self, first: &[(i64, &[i64])], calls: &[(&str, i64, &[i64])]) {
        for (name, number, arguments) in calls {
            let mut all: Vec<Call> = first.iter().map(|(number, given)| Call(*number, given.to_vec())).collect();
            all.push(Call(*number, arguments.to_vec()));
            self.add(Must::Fail, name, all);
        }
    }

    /// Stores bytes and returns their address in the worker.
    pub fn put(&mut self, bytes: &[u8]) -> i64 {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        // Align the following data for every type.
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
