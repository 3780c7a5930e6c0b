//! The start of these programs: a C `main` instead of Rust's.
//!
//! Rust's own start ignores SIGPIPE and opens /dev/null on closed standard descriptors, so a program that uses it can neither
//! report its original state nor pass it on.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// Each tool exits with this code if it fails itself.
pub const FAILED: c_int = 99;

/// The arguments after the program's name.
///
/// # Safety
///
/// `argc` and `argv` are what the C library passed to `main`.
#[must_use]
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let argument = |index: usize| {
        // SAFETY: `index` is below `argc`, and the caller guarantees `argv`.
        let entry = unsafe { argv.add(index) };
        // SAFETY: as above.
        let pointer = unsafe { *entry };
        // SAFETY: each of the first `argc` entries is a C string that lives as long as the process.
        let text = unsafe { CStr::from_ptr(pointer) };
        OsStr::from_bytes(text.to_bytes()).to_os_string()
    };
    (1..usize::try_from(argc).unwrap_or(0)).map(argument).collect()
}

/// Prints one line with the reason why a tool cannot continue, and ends the tool.
pub fn fail(tool: &str, why: &str) -> ! {
    eprintln!("{tool}: {why}");
    std::process::exit(FAILED)
}

/// The argument that must follow `option`.
///
/// # Errors
///
/// If there is no such argument, or it is not UTF-8.
pub fn value(option: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<String, String> {
    let value = rest.next().ok_or_else(|| format!("{option} needs a value"))?;
    value.into_string().map_err(|_| format!("the value of {option} is not UTF-8"))
}

/// The remaining arguments, as the words of a command.
///
/// # Errors
///
/// Never, for arguments from the C library.
pub fn words(rest: &mut impl Iterator<Item = OsString>) -> Result<Vec<CString>, String> {
    rest.map(|word| CString::new(word.as_bytes()).map_err(|error| error.to_string())).collect()
}
