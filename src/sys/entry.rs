//! Where the C library hands over, in place of Rust's own start: that one makes a stack for signals, to tell of a stack overflow, which
//! costs two mappings that the fork copies. What else it does, `handfast::main` does: it gives closed standard descriptors a file, and
//! ignores SIGPIPE.
//!
//! A module of the program, not of the library, whose tests have a `main` of their own.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;

/// # Safety
///
/// Called once, by the C library.
// SAFETY: nothing else that is linked defines the name; the signature is C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let argument = |index: usize| {
        // SAFETY: `index` is below `argc`, which is the length of the array that the C library passes.
        let entry = unsafe { argv.add(index) };
        // SAFETY: as above.
        let pointer = unsafe { *entry };
        // SAFETY: each of the first `argc` entries is a C string that lives as long as the process.
        let text = unsafe { CStr::from_ptr(pointer) };
        OsString::from_vec(text.to_bytes().to_vec())
    };
    handfast::main((0..usize::try_from(argc).unwrap_or(0)).map(argument).collect()).into()
}
