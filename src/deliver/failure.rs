//! The failures and warnings of this stage.
#![forbid(unsafe_code)]

use std::ffi::OsStr;

use nix::errno::Errno;

use crate::error::{Class, Error, Phase, reason};

/// A failure to deliver (73).
pub fn refusal(message: String) -> Error {
    Error::new(Phase::Deliver, Class::Deliver, message)
}

/// The number of a system call's error.
pub fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

/// A line of the log.
pub fn warn(text: &str) {
    tracing::warn!(target: "handfast", "{text}");
}

pub fn cannot_write(path: &str, name: &str, error: Errno) -> Error {
    let what = if name.is_empty() { format!("into `{path}`") } else { format!("`{name}` in `{path}`") };
    let failed = refusal(format!("cannot write {what}: {}", reason(error)));
    match error {
        Errno::ENOSPC | Errno::EDQUOT => {
            failed.hint("make the tmpfs larger (its options `size` and `nr_inodes`; Kubernetes: `sizeLimit`)")
        }
        Errno::EFBIG => failed.hint("raise the limit on the size of files (`ulimit -f`)"),
        Errno::EROFS => failed.hint("mount it writable for handfast"),
        _ => failed,
    }
}

/// The warning for what an earlier start left and this one cannot remove.
pub fn leftover(path: &str, name: &OsStr, error: Errno) -> String {
    format!("cannot remove the leftover `{}` in `{path}`: {}", name.display(), reason(error))
}
