//! How these programs start: with a C `main`, not Rust's.
//!
//! Rust's own start ignores SIGPIPE and opens /dev/null on closed standard descriptors, so a program with it can neither
//! report nor pass on what it was started with.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// The exit code with which each of these tools says that it failed itself.
pub const FAILED: c_int = 99;

/// The arguments after the program's name.
///
/// # Safety
///
/// `argc` and `argv` are what the C library passed to `main`.
#[must_use]
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let argument = |index: usize| {
        // SAFETY: `index` is below `argc`, and the caller vouches for `argv`.
        let entry = unsafe { argv.add(index) };
        // SAFETY: as above.
        let pointer = unsafe { *entry };
        // SAFETY: each of the first `argc` entries is a C string that lives as long as the process.
        let text = unsafe { CStr::from_ptr(pointer) };
        OsStr::from_bytes(text.to_bytes()).to_os_string()
    };
    (1..usize::try_from(argc).unwrap_or(0)).map(argument).collect()
}

/// Says in one line why a tool can't go on, and ends it.
pub fn fail(tool: &str, why: &str) -> ! {
    eprintln!("{tool}: {why}");
    std::process::exit(FAILED)
}

/// The argument that has to follow `option`.
///
/// # Errors
///
/// Where there is none, or it is no UTF-8.
pub fn value(option: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<String, String> {
    let value = rest.next().ok_or_else(|| format!("{option} needs a value"))?;
    value.into_string().map_err(|_| format!("the value of {option} is not UTF-8"))
}

/// The rest, as the words of a command.
///
/// # Errors
///
/// Never, for what the C library passed.
pub fn words(rest: &mut impl Iterator<Item = OsString>) -> Result<Vec<CString>, String> {
    rest.map(|word| CString::new(word.as_bytes()).map_err(|error| error.to_string())).collect()
}
