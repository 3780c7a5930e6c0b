//! Everything that handfast prints on stderr: log lines, and the last line of a failed start.
#![forbid(unsafe_code)]

mod line;
mod stderr;

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use handfast_core::{DEBUG, Place, Problems, escaped_excerpt};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::cli::{self, Options};
use crate::config::{Environment, NotText};
use crate::error::Error;

pub use line::{Line, printable, printable_json};
pub use stderr::{never_wait, wait_again, wait_until_deadline, wait_until_signal};

/// The target of handfast's own events. Only events with this target or [`DEBUG`] are printed: a library's events may contain the
/// data that it sent and received.
const TARGET: &str = "handfast";

/// The file in which the kubelet looks for the reason why a container ended.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The most bytes that the kubelet reads of that file (kubernetes.io, "Determine the Reason for Pod Failure").
const TERMINATION_LOG_SIZE: usize = 4096;

/// The format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The settings of the log.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The format of lines.
    pub format: Format,
    /// The least important level that is printed.
    pub level: Level,
    /// Whether text may be coloured: stderr is a terminal and NO_COLOR is not set.
    pub color: bool,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Whether to use colour: only on a terminal, and never with NO_COLOR (no-color.org).
pub fn color(no_color: bool) -> bool {
    !no_color && std::io::stderr().is_terminal()
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Text, level: Level::WARN, color: false }
    }
}

impl Settings {
    /// Takes each setting from the command line, else from the environment, else from the defaults. The problems are
    /// the wrong values; the other settings are valid in any case.
    pub fn choose(arguments: &[OsString], options: Option<&Options>, environment: &Environment) -> (Self, Problems) {
        let mut problems = Problems::default();
        let mut pick = |option: Option<String>, variable: &str| match (option, environment.text(variable)) {
            (Some(text), _) => Some((text, Place::CommandLine)),
            (None, Ok(text)) => text.map(|text| (text.to_owned(), Place::Environment)),
            (None, Err(NotText)) => {
                problems.add(&Place::Environment, format!("the variable `{variable}` is not UTF-8"));
                None
            }
        };
        let format = pick(
            options.map_or_else(|| cli::log_format(arguments), |options| options.log_format.clone()),
            "HANDFAST_LOG_FORMAT",
        );
        let level = pick(options.and_then(|options| options.log_level.clone()), "HANDFAST_LOG_LEVEL");
        let mut settings = Self { color: color(environment.raw("NO_COLOR").is_some()), ..Self::default() };
        match format.as_ref().map(|(text, place)| (text.as_str(), place)) {
            None | Some(("text", _)) => {}
            Some(("json", _)) => settings.format = Format::Json,
            Some((other, place)) => {
                problems.add(place, format!("the log format is \"{}\", expected text or json", escaped_excerpt(other)))
            }
        }
        match level.as_ref().map(|(text, place)| (text.as_str(), place)) {
            None | Some(("warn", _)) => {}
            Some(("error", _)) => settings.level = Level::ERROR,
            Some(("info", _)) => settings.level = Level::INFO,
            Some(("debug", _)) => settings.level = Level::DEBUG,
            Some((other, place)) => problems.add(
                place,
                format!("the log level is \"{}\", expected error, warn, info or debug", escaped_excerpt(other)),
            ),
        }
        (settings, problems)
    }
}

/// Starts logging.
pub fn start(settings: Settings) {
    // A second call in one process, which only tests make, keeps the first settings.
    if SETTINGS.set(settings).is_ok() && tracing::subscriber::set_global_default(Log(settings)).is_err() {
        print(&settings, Line::plain("error", "another logger is in place"));
    }
}

/// The settings that [`start`] was called with, or the defaults.
pub fn settings() -> Settings {
    SETTINGS.get().copied().unwrap_or_default()
}

/// Whether this process is the worker: its lines go to the privileged process, which prints them.
static RELAYED: AtomicBool = AtomicBool::new(false);

/// Makes this process' lines those of the worker: stderr is its log from now on, and each line is a letter for the level and the
/// text.
pub fn relay() {
    RELAYED.store(true, Relaxed);
    stderr::written_at_once();
}

/// Prints a line of the worker as a log line. No content of the line can forge a second one.
pub fn relayed(line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let settings = settings();
    let mut characters = text.chars();
    let level = match characters.next() {
        Some('e') => "error",
        Some('i') => "info",
        Some('d') => "debug",
        Some('h') => return print_hint(&settings, Some(characters.as_str().to_owned())),
        _ => "warn",
    };
    print(&settings, Line::plain(level, characters.as_str()));
}

struct Log(Settings);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && level(metadata).is_some_and(|level| level <= self.0.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let level = match level(event.metadata()) {
            Some(Level::ERROR) => "error",
            Some(Level::WARN) => "warn",
            Some(Level::INFO) => "info",
            _ => "debug",
        };
        print(&self.0, Line::plain(level, &message.0));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The level of one of handfast's own events; `None` for a library's event.
fn level(metadata: &Metadata<'_>) -> Option<Level> {
    match metadata.target() {
        TARGET => Some(*metadata.level()),
        DEBUG => Some(Level::DEBUG),
        _ => None,
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let separator = if self.0.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let written = match field.name() {
            "message" => write!(self.0, "{separator}{value:?}"),
            name => write!(self.0, "{separator}{name}={value:?}"),
        };
        debug_assert!(written.is_ok());
    }
}

/// Prints a failure that ends nothing.
pub fn part(error: &Error) {
    let (settings, line) = (settings(), Line::part(error));
    let hint = line.hint.clone();
    print(&settings, line);
    print_hint(&settings, hint);
}

/// Prints why a start failed: each single failure with its hint, then a last line that sums them up, which also goes to the
/// termination log.
pub fn failure(error: &Error, elapsed: Duration) {
    write_termination_log(&settings(), &answer(error, elapsed));
}

/// Prints the same for a probe, which is not why its container ends.
pub fn answer(error: &Error, elapsed: Duration) -> Line {
    let settings = settings();
    stderr::last_lines();
    error.parts.iter().for_each(part);
    let line = Line::last(error, elapsed);
    print_hint(&settings, line.hint.clone());
    print(&settings, line.clone());
    line
}

/// Prints the last line of a start that ran out of memory. Allocates nothing.
pub fn out_of_memory() {
    let line: &[u8] = match settings().format {
        _ if RELAYED.load(Relaxed) => b"eout of memory\n",
        Format::Json => {
            b"{\"level\":\"error\",\"exit\":71,\"class\":\"os\",\"phase\":\"plan\",\"message\":\"out of memory\"}\n"
        }
        Format::Text => b"handfast: error: out of memory (os, exit 71)\n",
    };
    stderr::last_lines();
    stderr::write(line);
}

/// Prints a hint as a line of its own. In JSON, the hint is in its message's object instead.
fn print_hint(settings: &Settings, hint: Option<String>) {
    if let (Some(hint), true) = (&hint, RELAYED.load(Relaxed)) {
        emit(&format!("h{}", printable(hint)));
    } else if let (Format::Text, Some(hint)) = (settings.format, hint) {
        emit(&format!("handfast: hint: {}", printable(&hint)));
    }
}

fn print(settings: &Settings, line: Line) {
    match settings.format {
        _ if RELAYED.load(Relaxed) => emit(&line.relayed()),
        Format::Json => emit(&line.json()),
        Format::Text => emit(&line.text(settings.color)),
    }
}

/// Writes a line with one call, so that lines of two processes do not mix.
fn emit(line: &str) {
    stderr::write(format!("{line}\n").as_bytes());
}

fn write_termination_log(settings: &Settings, line: &Line) {
    if RELAYED.load(Relaxed) {
        return;
    }
    let opened = if KEPT_OPEN.get().is_none() { open_termination_log().ok() } else { None };
    let Some(mut file) = KEPT_OPEN.get().or(opened.as_ref()) else { return };
    let text = line.within(TERMINATION_LOG_SIZE - 1, settings.format) + "\n";
    // A failure here loses nothing: stderr has the same line. What is no regular file has no length.
    drop(file.set_len(0));
    drop(file.write_all(text.as_bytes()));
}

/// The termination log of a process that may open no file for writing any more.
static KEPT_OPEN: OnceLock<File> = OnceLock::new();

/// Keeps the termination log open, where there is one, until the last line of this process. The number of its descriptor.
pub fn keep_termination_log() -> Option<RawFd> {
    let file = open_termination_log().ok()?;
    Some(KEPT_OPEN.get_or_init(|| file).as_raw_fd())
}

fn open_termination_log() -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    OpenOptions::new().write(true).custom_flags(flags).open(TERMINATION_LOG)
}
