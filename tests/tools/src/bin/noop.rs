//! `noop`: does nothing and succeeds. Its run time is the cost of starting any program.

#![no_main]

use std::ffi::{c_char, c_int};

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    0
}
