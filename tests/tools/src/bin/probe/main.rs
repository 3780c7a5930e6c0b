//! An app that reports everything that it can see of itself, as one JSON object. handfast's tests start it in an app's place.
//!
//! `probe [--out FILE|FD] [--read PATH]… [--sleep SECONDS] [--exit CODE] [--canary-scan INVERTED-HEX]… [ARGUMENT]…`
//!
//! `--sleep` waits before anything is read, so that an observer finds the process in its first state. `--canary-scan` takes the
//! value with each byte inverted: otherwise the scan would find its own argument.

#![no_main]

mod attempts;
mod descriptors;
mod status;
mod tree;

use std::ffi::{OsString, c_char, c_int};
use std::fs;
use std::io::Write;
use std::os::fd::{FromRawFd, RawFd};
use std::time::Duration;

use handfast_testtools::memory::scan;
use handfast_testtools::needle::Needle;
use handfast_testtools::search::Search;
use handfast_testtools::start::{arguments, fail, value};
use serde_json::{Value, json};

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    match Options::parse(arguments).and_then(|options| probe(&options)) {
        Ok(code) => code,
        Err(why) => fail("probe", &why),
    }
}

#[derive(Default)]
struct Options {
    out: Option<String>,
    read: Vec<String>,
    sleep: Option<f64>,
    exit: c_int,
    canaries: Vec<Needle>,
}

impl Options {
    fn parse(arguments: Vec<OsString>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let Some(option) = argument.to_str().filter(|text| text.starts_with("--")) else { continue };
            let number = |text: String| text.parse().map_err(|_| format!("{option} needs a number"));
            match option {
                "--" => break,
                "--out" => options.out = Some(value(option, &mut rest)?),
                "--read" => options.read.push(value(option, &mut rest)?),
                "--sleep" => options.sleep = Some(number(value(option, &mut rest)?)?),
                "--exit" => options.exit = value(option, &mut rest)?.parse().map_err(|_| "--exit needs a number")?,
                "--canary-scan" => options.canaries.push(Needle::from_masked_hex(&value(option, &mut rest)?)?),
                _ => return Err(format!("unknown option {option}")),
            }
        }
        Ok(options)
    }
}

fn probe(options: &Options) -> Result<c_int, String> {
    if let Some(seconds) = options.sleep {
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }
    // Scan before anything else is read: what the memory holds now was given to the process.
    let canaries = canaries(&options.canaries);
    let descriptors = descriptors::all();
    let status = status::all();
    let attempts = attempts::all();
    let directory = environment().get("CREDENTIALS_DIRECTORY").and_then(Value::as_str).map(str::to_owned);
    let report = json!({
        "argv": strings("/proc/self/cmdline"),
        "environ": environment(),
        "environ_list": strings("/proc/self/environ"),
        "status": status,
        "descriptors": descriptors,
        "attempts": attempts,
        "canaries": canaries,
        "HANDFAST_FDS": environment().get("HANDFAST_FDS"),
        "CREDENTIALS_DIRECTORY": directory.as_deref().map(tree::listing),
        "read": options.read.iter().map(|path| (path.clone(), tree::listing(path))).collect::<serde_json::Map<_, _>>(),
    });
    write(options.out.as_deref(), &format!("{report}\n"))?;
    Ok(options.exit)
}

fn canaries(needles: &[Needle]) -> Value {
    if needles.is_empty() {
        return Value::Null;
    }
    match scan("self", &Search::new(needles)) {
        Ok(report) => json!({ "hits": report.hits, "bytes_scanned": report.scanned }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// The environment as the kernel holds it. For a variable that occurs twice, the last value counts.
fn environment() -> Value {
    let pair = |entry: String| {
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        (name.to_owned(), Value::from(value))
    };
    Value::Object(strings("/proc/self/environ").into_iter().map(pair).collect())
}

fn strings(path: &str) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Writes into a file, an inherited descriptor, or (without `--out`) standard output.
fn write(out: Option<&str>, report: &str) -> Result<(), String> {
    let number = out.map_or(Ok(1), str::parse::<RawFd>);
    let written = match (number, out) {
        (Err(_), Some(path)) => fs::write(path, report),
        // SAFETY: the process ends after this, so nothing else uses or closes the descriptor.
        (number, _) => unsafe { fs::File::from_raw_fd(number.unwrap_or(1)) }.write_all(report.as_bytes()),
    };
    written.map_err(|error| format!("cannot write the report: {error}"))
}
