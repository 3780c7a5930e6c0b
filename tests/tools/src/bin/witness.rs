//! `witness COUNT`: prints each signal that it gets, and ends with the code 0 after COUNT of them.
//!
//! It blocks every signal, so none takes its action. Then it prints `ready`, and for each signal a line with its number, its
//! sender and the value that came with it. The calls are the kernel's own, because the C libraries hide two of the signals.

#![no_main]

use std::ffi::{c_char, c_int};
use std::io::Write;

use handfast_testtools::start::{arguments, fail};

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    let count = arguments.first().and_then(|count| count.to_str()?.parse().ok());
    match count.ok_or("COUNT is missing".to_owned()).and_then(|count| watch(count).map_err(|error| error.to_string())) {
        Ok(()) => 0,
        Err(why) => fail("witness", &why),
    }
}

const SET_SIZE: usize = 8;

fn watch(count: usize) -> std::io::Result<()> {
    let all: u64 = u64::MAX;
    let none = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads `SET_SIZE` bytes of `all`.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const all, none, SET_SIZE) };
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    let mut seen = 0;
    while seen < count {
        // The kernel's `siginfo_t`: number, error, code, padding, sender, uid, value.
        let mut information = [0_u32; 32];
        let forever = std::ptr::null::<libc::timespec>();
        // SAFETY: the kernel reads `SET_SIZE` bytes of `all` and writes one `siginfo_t`, 128 bytes, to `information`.
        let number = unsafe {
            libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, information.as_mut_ptr(), forever, SET_SIZE)
        };
        // A stop and its end interrupt the wait.
        if number > 0 {
            seen += 1;
            let value = u64::from(information[6]) | u64::from(information[7]) << 32;
            writeln!(out, "{number} {} {value}", information[4])?;
        }
    }
    Ok(())
}
