//! The environment as the kernel laid it out, read once; credentials in it are wiped in place.

use std::ffi::{CStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use handfast_core::SecretValue;

unsafe extern "C" {
    static environ: *const *mut libc::c_char;
}

/// What the process was started with.
#[derive(Default)]
pub struct Captured {
    /// The variables that hold no credential, in order.
    pub variables: Vec<(OsString, OsString)>,
    /// The credentials.
    pub credentials: Vec<(String, SecretValue)>,
}

impl Captured {
    /// Makes a credential of a variable, and overwrites it in the initial environment area as [`capture`] does.
    pub fn take_credential(&mut self, name: &str) {
        while let Some(at) = self.variables.iter().position(|(known, _)| known == name) {
            let (_, value) = self.variables.remove(at);
            self.credentials.push((name.to_owned(), SecretValue::from(value.into_vec())));
        }
        each(|known, _| if known == name.as_bytes() { Then::Wipe } else { Then::Leave });
    }
}

/// Copies the environment, then overwrites each variable that `is_credential` names in the initial environment area, so that
/// `/proc/PID/environ` of this process, and of every fork of it, no longer shows it.
///
/// Called once; nothing else in handfast reads the environment.
pub fn capture(is_credential: impl Fn(&[u8]) -> bool) -> Captured {
    let mut captured = Captured::default();
    each(|name, value| match std::str::from_utf8(name) {
        Ok(name) if is_credential(name.as_bytes()) => {
            captured.credentials.push((name.to_owned(), SecretValue::from(value.to_vec())));
            Then::Wipe
        }
        _ => {
            captured.variables.push((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())));
            Then::Leave
        }
    });
    captured
}

/// What becomes of a variable in the initial environment area.
enum Then {
    Leave,
    Wipe,
}

/// Visits the variables of the initial environment area, while the process has one thread.
fn each(mut visit: impl FnMut(&[u8], &[u8]) -> Then) {
    // SAFETY: `environ` is a plain pointer that libc has set before main; nothing writes it, as no setenv is ever called.
    let mut entry = unsafe { environ };
    if entry.is_null() {
        return;
    }
    loop {
        // SAFETY: `entry` points into the array that `environ` starts; it has not passed the array's final null pointer.
        let text = unsafe { *entry };
        if text.is_null() {
            return;
        }
        // SAFETY: each entry of the array is a NUL-terminated string, which lives as long as the process.
        let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
        if let Some(at) = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0) {
            let (from, length) = (at + 1, bytes.len() - at - 1);
            if let Then::Wipe = visit(&bytes[..at], &bytes[from..]) {
                wipe(text, from, length);
            }
        }
        // SAFETY: the entry just read was not the final null pointer, so the next one is still inside the array.
        entry = unsafe { entry.add(1) };
    }
}

fn wipe(text: *mut libc::c_char, from: usize, length: usize) {
    for offset in from..from + length {
        // SAFETY: the string is `from + length` bytes long before its NUL, so the offset is inside it.
        let byte = unsafe { text.add(offset) };
        // SAFETY: the initial environment area is writable memory of this process, and no reference into it is alive. The
        // write is volatile because nobody reads it in this program: the kernel does, for /proc/PID/environ.
        unsafe { ptr::write_volatile(byte, 0) };
    }
}
