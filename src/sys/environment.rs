//! Reads the initial environment once, and wipes the credentials in it in place.

use std::collections::BTreeSet;
use std::ffi::{CStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use handfast_core::SecretValue;

unsafe extern "C" {
    static environ: *const *mut libc::c_char;
}

/// The environment that the process was started with.
#[derive(Default)]
pub struct Captured {
    /// The entries, in order.
    pub entries: Vec<Entry>,
}

/// One entry of an environment.
pub enum Entry {
    /// A variable that holds no credential.
    Variable(OsString, OsString),
    /// A credential.
    Credential(String, SecretValue),
    /// An entry that is no variable: it has no `=`, or no name before the `=`.
    Other(OsString),
}

impl Captured {
    /// Turns these variables into credentials, and overwrites them in the initial environment area as [`capture`] does.
    pub fn take_credentials(&mut self, names: &BTreeSet<&[u8]>) {
        for entry in &mut self.entries {
            if let Entry::Variable(name, value) = entry
                && names.contains(name.as_bytes())
                && let Some(name) = name.to_str()
            {
                let value = SecretValue::from(std::mem::take(value).into_vec());
                *entry = Entry::Credential(name.to_owned(), value);
            }
        }
        each(|entry| match split(entry) {
            Some((name, _)) if names.contains(name) => Then::Wipe,
            _ => Then::Leave,
        });
    }
}

/// Copies the environment, then overwrites the value of each variable for which `is_credential` is true in the initial
/// environment area. Then `/proc/PID/environ` of this process, and of every fork of it, no longer shows the value.
///
/// Called once; nothing else in handfast reads the environment.
pub fn capture(is_credential: impl Fn(&[u8]) -> bool) -> Captured {
    let mut captured = Captured::default();
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    each(|entry| {
        let (entry, then) = match split(entry) {
            None => (Entry::Other(text(entry)), Then::Leave),
            Some((name, value)) => match std::str::from_utf8(name) {
                Ok(name) if is_credential(name.as_bytes()) => {
                    (Entry::Credential(name.to_owned(), SecretValue::from(value.to_vec())), Then::Wipe)
                }
                _ => (Entry::Variable(text(name), text(value)), Then::Leave),
            },
        };
        captured.entries.push(entry);
        then
    });
    captured
}

/// A variable's name and value.
fn split(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    Some((&entry[..at], &entry[at + 1..]))
}

/// What to do with a variable in the initial environment area.
enum Then {
    Leave,
    Wipe,
}

/// Visits the entries of the initial environment area. The process has one thread while this runs.
fn each(mut visit: impl FnMut(&[u8]) -> Then) {
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
        let value = split(bytes).map(|(name, value)| (name.len() + 1, value.len()));
        if let (Then::Wipe, Some((from, length))) = (visit(bytes), value) {
            wipe(text, from, length);
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

#[cfg(test)]
impl Captured {
    /// The environment of a process that was started with these variables and credentials.
    pub fn of(variables: &[(&str, &str)], credentials: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| Entry::Variable(name.into(), value.into()));
        let secret = |value: &str| SecretValue::from(value.as_bytes().to_vec());
        let credentials = credentials.iter().map(|(name, value)| Entry::Credential((*name).to_owned(), secret(value)));
        Self { entries: variables.chain(credentials).collect() }
    }
}
