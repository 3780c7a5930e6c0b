//! Signal dispositions and the signal mask: as found at the start, and put back before exec.
//!
//! Both outlive exec, so the app must get them as handfast got them. Raw system calls, because libc's own functions refuse or
//! hide the signals that it uses itself.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use libc::c_int;
use nix::sys::signal::Signal;

const LAST: c_int = 64;
/// What rt_sigaction and rt_sigprocmask want to know: the size of the kernel's signal set.
const SET_SIZE: usize = 8;
/// The first real-time signal that people and tools name `RTMIN`: the C library keeps the two before it, 32 and 33, for itself.
const REAL_TIME: c_int = 34;
/// The kernel's first real-time signal.
const FIRST_REAL_TIME: c_int = 32;
/// The kernel's `struct signalfd_siginfo`, which starts with the signal's number.
const INFORMATION_SIZE: usize = 128;

/// The mask as found.
static BLOCKED: AtomicU64 = AtomicU64::new(0);
/// The signals whose disposition was changed since; all others are as found.
static CHANGED: AtomicU64 = AtomicU64::new(bit(libc::SIGPIPE));
/// Those of them that were ignored when found.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Some signals. The C library's sets cannot hold every real-time signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals(u64);

impl Signals {
    /// No signal.
    pub const NONE: Self = Self(0);

    /// Every signal. KILL and STOP cannot be held back, and the kernel ignores them in a set.
    pub const ALL: Self = Self(u64::MAX);

    /// The set of these signals.
    pub fn of(signals: &[Signal]) -> Self {
        Self(signals.iter().fold(0, |set, signal| set | bit(*signal as c_int)))
    }

    /// This set and all real-time signals.
    pub fn and_real_time(self) -> Self {
        (FIRST_REAL_TIME..=LAST).fold(self, |Self(set), signal| Self(set | bit(signal)))
    }

    /// The lowest signal of the set.
    fn first(self) -> Option<u8> {
        (1..=LAST).find(|signal| self.0 & bit(*signal) != 0).and_then(|signal| u8::try_from(signal).ok())
    }
}

/// A signal's name, such as `SIGTERM` or `SIGRTMIN+3`.
pub fn name(number: u8) -> String {
    let number = c_int::from(number);
    match Signal::try_from(number) {
        Ok(signal) => signal.to_string(),
        Err(_) if number == REAL_TIME => "SIGRTMIN".into(),
        Err(_) if (REAL_TIME..=LAST).contains(&number) => format!("SIGRTMIN+{}", number - REAL_TIME),
        Err(_) => format!("signal {number}"),
    }
}

/// The number of the signal that has this [`name`].
pub fn number(wanted: &str) -> Option<u8> {
    (1..=LAST).filter_map(|number| u8::try_from(number).ok()).find(|number| name(*number) == wanted)
}

/// What exec hands on of signals. A bit per signal: bit 0 is signal 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// The ignored ones; all others have their default action.
    pub ignored: u64,
    /// The blocked ones.
    pub blocked: u64,
}

/// The kernel's `struct sigaction` on 64-bit machines: handler, flags, restorer, mask.
#[repr(C)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// libc calls what stands in this section before `main`, and so before Rust's own start, which ignores SIGPIPE.
#[used]
#[unsafe(link_section = ".init_array")]
static RECORD: extern "C" fn() = {
    extern "C" fn record() {
        // Queries of the own thread with valid arguments do not fail; and there is no way to report an error here.
        if let (Ok(handler), Ok(blocked)) = (handler(libc::SIGPIPE), change_mask(libc::SIG_BLOCK, 0)) {
            IGNORED.store(if handler == libc::SIG_IGN { bit(libc::SIGPIPE) } else { 0 }, Relaxed);
            BLOCKED.store(blocked, Relaxed);
        }
    }
    record
};

/// What exec handed on when this process started.
pub fn found() -> io::Result<Inherited> {
    let mut ignored = 0;
    for signal in 1..=LAST {
        if was_ignored(signal)? {
            ignored |= bit(signal);
        }
    }
    Ok(Inherited { ignored, blocked: BLOCKED.load(Relaxed) })
}

fn was_ignored(signal: c_int) -> io::Result<bool> {
    if CHANGED.load(Relaxed) & bit(signal) == 0 {
        return Ok(handler(signal)? == libc::SIG_IGN);
    }
    Ok(IGNORED.load(Relaxed) & bit(signal) != 0)
}

/// Puts every changed disposition and then the mask back as found, and reads them back.
///
/// A signal that was held back until now and is not blocked any more takes its default action here.
pub fn restore() -> io::Result<()> {
    let changed = CHANGED.load(Relaxed);
    for signal in (1..=LAST).filter(|signal| changed & bit(*signal) != 0) {
        let wanted = if was_ignored(signal)? { libc::SIG_IGN } else { libc::SIG_DFL };
        set_handler(signal, wanted)?;
        if handler(signal)? != wanted {
            return Err(io::Error::other("a disposition reads back otherwise"));
        }
    }
    let blocked = BLOCKED.load(Relaxed);
    change_mask(libc::SIG_SETMASK, blocked)?;
    if change_mask(libc::SIG_BLOCK, 0)? == blocked {
        Ok(())
    } else {
        Err(io::Error::other("the mask reads back otherwise"))
    }
}

/// The number of one of `signals` that was sent and is held back, but not by the mask as found: that one stays pending over exec.
pub fn pending(Signals(signals): Signals) -> io::Result<Option<u8>> {
    let held = !BLOCKED.load(Relaxed);
    Ok(Signals(held_back()? & held & signals).first())
}

/// The signals that were sent and are held back.
fn held_back() -> io::Result<u64> {
    let mut set: u64 = 0;
    // SAFETY: the kernel writes `SET_SIZE` bytes to `set`, which has that size and lives until the call returns.
    check(unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set, SET_SIZE) })?;
    Ok(set)
}

/// Blocks these signals.
pub fn block(Signals(signals): Signals) -> io::Result<()> {
    change_mask(libc::SIG_BLOCK, signals).map(drop)
}

/// Lets these signals take their action again.
pub(super) fn unblock(Signals(signals): Signals) -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK, signals).map(drop)
}

/// Whether this signal was sent and is held back.
pub(super) fn is_held_back(signal: Signal) -> io::Result<bool> {
    Ok(held_back()? & bit(signal as c_int) != 0)
}

/// Blocks those among these signals that were neither ignored nor blocked when the process started, and returns them.
pub fn hold(Signals(signals): Signals) -> io::Result<Signals> {
    let held = Signals(signals & !found()?.ignored & !BLOCKED.load(Relaxed));
    block(held)?;
    Ok(held)
}

/// Gives a signal its default action.
pub fn set_default(signal: Signal) -> io::Result<()> {
    let number = signal as c_int;
    if was_ignored(number)? {
        IGNORED.fetch_or(bit(number), Relaxed);
    }
    CHANGED.fetch_or(bit(number), Relaxed);
    set_handler(number, libc::SIG_DFL)
}

/// Signals and the ends of children, which arrive at one descriptor instead of taking their action.
pub struct SignalFd {
    descriptor: File,
    /// The signals that arrive at the descriptor.
    signals: Signals,
}

/// A signal that has arrived at a [`SignalFd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its number.
    pub number: u8,
    /// Who sent it; 0 for the kernel, and for a process outside of this pid namespace.
    pub sender: i32,
    /// The sender's uid.
    pub user: u32,
    /// What was sent with it (sigqueue(3)).
    pub value: Option<u64>,
}

impl SignalFd {
    /// Watches for SIGCHLD, and for those of the given signals that were neither ignored nor blocked when the process started.
    pub fn new(signals: Signals) -> io::Result<Self> {
        let child = Signals::of(&[Signal::SIGCHLD]);
        block(child)?;
        Self::open(Signals(hold(signals)?.0 | child.0))
    }

    /// Adds a signal, even if it was ignored or blocked when the process started.
    pub fn also(self, signal: Signal) -> io::Result<Self> {
        let signals = Signals(self.signals.0 | Signals::of(&[signal]).0);
        block(signals)?;
        signalfd(self.descriptor.as_raw_fd(), signals.0)?;
        Ok(Self { signals, ..self })
    }

    /// Watches for every signal, also for those that were ignored or blocked when the process started.
    pub fn all() -> io::Result<Self> {
        block(Signals::ALL)?;
        Self::open(Signals::ALL)
    }

    /// Opens the descriptor (non-blocking, closed by exec). The signals are blocked.
    fn open(signals: Signals) -> io::Result<Self> {
        let number = signalfd(-1, signals.0)?;
        // SAFETY: the call has just opened this descriptor, a small number that nothing else owns.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Self { descriptor: descriptor.into(), signals })
    }

    /// From now on leaves real-time signals where they wait, or takes them again. Only for a descriptor of all signals.
    pub fn take_real_time(&self, takes: bool) -> io::Result<()> {
        let real_time = Signals::NONE.and_real_time().0;
        let set = if takes { Signals::ALL.0 } else { Signals::ALL.0 & !real_time };
        signalfd(self.descriptor.as_raw_fd(), set).map(drop)
    }

    /// The number of a signal that has arrived. The end of a child only makes the descriptor readable: waitpid(2) reports which child
    /// has ended, because one SIGCHLD may stand for several children.
    pub fn received(&self) -> io::Result<Option<u8>> {
        Ok(self.next()?.map(|arrived| arrived.number))
    }

    /// The same signal, with what is known of it.
    pub fn next(&self) -> io::Result<Option<Incoming>> {
        let mut information = [0; INFORMATION_SIZE];
        loop {
            match (&self.descriptor).read_exact(&mut information) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            // The kernel's `struct signalfd_siginfo`: number, error, code, pid, … and the value as 64 bits.
            let word = |at: usize| information[at..].first_chunk().copied().map_or(0, i32::from_ne_bytes);
            let value = information[48..].first_chunk().copied().map_or(0, u64::from_ne_bytes);
            let Ok(number) = u8::try_from(word(0)) else { continue };
            if c_int::from(number) != libc::SIGCHLD {
                let value = (word(8) == libc::SI_QUEUE).then_some(value);
                let user = word(16).cast_unsigned();
                return Ok(Some(Incoming { number, sender: word(12), user, value }));
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Opens a descriptor where these signals arrive, or changes those that arrive at this one.
fn signalfd(descriptor: RawFd, set: u64) -> io::Result<RawFd> {
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: the kernel reads `SET_SIZE` bytes from `set`, which has that size and lives until the call returns.
    let number = unsafe { libc::syscall(libc::SYS_signalfd4, descriptor, &raw const set, SET_SIZE, flags) };
    check(number)?;
    Ok(number as RawFd)
}

const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

fn handler(signal: c_int) -> io::Result<usize> {
    let mut action = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    let none: *const Action = std::ptr::null();
    // SAFETY: with no new action the call changes nothing; the kernel writes one `struct sigaction` to `action`, which has
    // its layout on x86_64 and aarch64 and lives until the call returns.
    check(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, none, &raw mut action, SET_SIZE) })?;
    Ok(action.handler)
}

fn set_handler(signal: c_int, handler: usize) -> io::Result<()> {
    let action = Action { handler, flags: 0, restorer: 0, mask: 0 };
    let none: *mut Action = std::ptr::null_mut();
    // SAFETY: the callers pass SIG_DFL or SIG_IGN only, so no code of ours is ever called through this action; it has the
    // kernel's layout and lives until the call returns.
    check(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, none, SET_SIZE) })
}

/// Changes the mask as `how` says and returns what it was before.
fn change_mask(how: c_int, set: u64) -> io::Result<u64> {
    let mut before: u64 = 0;
    // SAFETY: the kernel reads `SET_SIZE` bytes from `set` and writes as many to `before`; both have that size and live
    // until the call returns.
    check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, &raw mut before, SET_SIZE) })?;
    Ok(before)
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
