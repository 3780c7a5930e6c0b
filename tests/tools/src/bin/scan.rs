//! `scan PID [--needle HEX]…`: searches all readable memory, the environment and the arguments of a process for values.
//!
//! Prints one JSON object. Exits with 0 without a hit, with 1 if there is one, and with 99 if the search failed.

#![no_main]

use std::ffi::{OsString, c_char, c_int};

use handfast_testtools::memory;
use handfast_testtools::needle::Needle;
use handfast_testtools::search::Search;
use handfast_testtools::start::{arguments, fail, value};
use serde_json::json;

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    scan(arguments).unwrap_or_else(|why| fail("scan", &why))
}

fn scan(arguments: Vec<OsString>) -> Result<c_int, String> {
    let (mut process, mut needles) = (None, Vec::new());
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--needle") => needles.push(Needle::from_hex(&value("--needle", &mut rest)?)?),
            Some(pid) if pid.parse::<u32>().is_ok() => process = Some(pid.to_owned()),
            _ => return Err(format!("unknown argument {}", argument.display())),
        }
    }
    let process = process.ok_or("usage: scan PID [--needle HEX]…")?;
    let report = memory::scan(&process, &Search::new(&needles))
        .map_err(|error| format!("cannot look into process {process}: {error}"))?;
    println!(
        "{}",
        json!({
            "pid": process.parse::<u32>().ok(), "bytes_scanned": report.scanned, "bytes_unreadable": report.unreadable,
            "hits": report.hits,
        })
    );
    Ok(c_int::from(!report.hits.is_empty()))
}
