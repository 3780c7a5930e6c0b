//! A clock for traced processes. It advances only in system calls: tracing makes each other instruction take microseconds, and
//! this slowness must not exceed a deadline.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use handfast_testtools::trace::system_call;

/// The instruction that makes a system call.
#[cfg(target_arch = "x86_64")]
const CALL: [u8; 2] = [0x0f, 0x05];
#[cfg(target_arch = "aarch64")]
const CALL: [u8; 4] = [0x01, 0x00, 0x00, 0xd4];

/// The kernel's names for system-call stops.
const ENTRY: u8 = 1;
const EXIT: u8 = 2;

/// The state of the clocks, and of the processes that read them.
#[derive(Default)]
pub struct Clock {
    /// The first value of each clock that a process has read.
    first: HashMap<u64, Duration>,
    processes: HashMap<libc::pid_t, Process>,
    /// For each examined instruction, whether it is a system call.
    calls: HashMap<u64, bool>,
}

#[derive(Default)]
struct Process {
    /// The time that the process has spent in system calls.
    waited: Duration,
    /// The start of the current system call.
    since: Option<Instant>,
    /// The clock that the process reads, and the address for the result.
    asks: Option<(u64, u64)>,
}

impl Clock {
    /// Hides the vDSO, through which a program reads the clock without a system call, from a program that starts.
    pub fn take_from(&self, process: libc::pid_t) -> io::Result<()> {
        const WORD: u64 = 8;
        let memory = memory(process)?;
        let word = |at: u64| {
            let mut bytes = [0; WORD as usize];
            memory.read_exact_at(&mut bytes, at).map(|()| u64::from_ne_bytes(bytes))
        };
        // The stack holds the number of arguments, the arguments, a null, the environment, a null, and the pairs of the
        // auxiliary vector.
        let stack = system_call(process)?[2];
        let mut at = stack + WORD * (word(stack)? + 2);
        while word(at)? != 0 {
            at += WORD;
        }
        at += WORD;
        loop {
            match word(at)? {
                libc::AT_NULL => return Ok(()),
                libc::AT_SYSINFO_EHDR => return memory.write_all_at(&libc::AT_IGNORE.to_ne_bytes(), at),
                _ => at += 2 * WORD,
            }
        }
    }

    /// Whether the instruction at this address is a system call. The code is the same in every traced process.
    pub fn is_call(&mut self, process: libc::pid_t, address: u64) -> bool {
        *self.calls.entry(address).or_insert_with(|| {
            let mut bytes = CALL;
            memory(process).is_ok_and(|memory| memory.read_exact_at(&mut bytes, address).is_ok()) && bytes == CALL
        })
    }

    /// Handles a stop. A new process starts with the longest time of the earlier processes.
    pub fn stopped(&mut self, process: libc::pid_t) {
        let so_far = self.processes.values().map(|process| process.waited).max().unwrap_or_default();
        let new = || Process { waited: so_far, ..Process::default() };
        let process = self.processes.entry(process).or_insert_with(new);
        process.waited += process.since.take().map(|since| since.elapsed()).unwrap_or_default();
    }

    /// Handles a system-call stop. Returns whether the end of the call must be traced.
    pub fn at_call(
        &mut self,
        process: libc::pid_t,
        [stop, _, _, call, first, second, ..]: [u64; 11],
    ) -> io::Result<bool> {
        let own = self.processes.entry(process).or_default();
        match stop.to_ne_bytes()[0] {
            ENTRY => {
                own.since = Some(Instant::now());
                own.asks = (i64::try_from(call) == Ok(libc::SYS_clock_gettime)).then_some((first, second));
                Ok(own.asks.is_some())
            }
            EXIT => match own.asks.take() {
                Some((clock, address)) => {
                    let waited = own.waited;
                    self.set(&memory(process)?, clock, address, waited).map(|()| false)
                }
                None => Ok(false),
            },
            _ => Ok(false),
        }
    }

    /// Replaces the kernel's answer by the first answer plus the time spent in system calls.
    fn set(&mut self, memory: &File, clock: u64, address: u64, waited: Duration) -> io::Result<()> {
        let mut bytes = [0; 16];
        memory.read_exact_at(&mut bytes, address)?;
        let (seconds, nanoseconds) = (u64::from_ne_bytes(half(&bytes, 0)), u64::from_ne_bytes(half(&bytes, 8)));
        let now = Duration::new(seconds, u32::try_from(nanoseconds).unwrap_or(0));
        let time = *self.first.entry(clock).or_insert_with(|| now.saturating_sub(waited)) + waited;
        bytes[..8].copy_from_slice(&time.as_secs().to_ne_bytes());
        bytes[8..].copy_from_slice(&u64::from(time.subsec_nanos()).to_ne_bytes());
        memory.write_all_at(&bytes, address)
    }
}

fn half(bytes: &[u8; 16], at: usize) -> [u8; 8] {
    std::array::from_fn(|index| bytes[at + index])
}

fn memory(process: libc::pid_t) -> io::Result<File> {
    File::options().read(true).write(true).open(format!("/proc/{process}/mem"))
}
