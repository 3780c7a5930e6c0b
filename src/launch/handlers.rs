//! Whether the kernel hands a file that it cannot start by itself to another program (binfmt_misc), such as qemu-user for another
//! machine's. Containers do not see these handlers, and have them.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Write;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::execveat;

/// The part of a file that the kernel compares (BINPRM_BUF_SIZE), in bytes.
const COMPARED: usize = 256;

/// Where the handlers are seen, if they are.
const SEEN: &str = "/proc/sys/fs/binfmt_misc";

/// Whether there is a handler for a file with these first bytes, which must be neither a script's nor those of a program for this
/// machine. Where the kernel cannot be asked: whether there is any handler.
pub fn take(head: &[u8]) -> bool {
    // Beside the handlers, the directory has `register` and `status`.
    asked(head).unwrap_or_else(|| fs::read_dir(SEEN).is_ok_and(|entries| entries.count() > 2))
}

/// Whether a handler that is seen goes by the end of a file's name.
pub fn go_by_names() -> bool {
    let goes = |text: String| text.lines().any(|line| line.starts_with("extension "));
    fs::read_dir(SEEN)
        .is_ok_and(|entries| entries.flatten().any(|entry| fs::read_to_string(entry.path()).is_ok_and(goes)))
}

/// Asks the kernel to execute the first bytes alone, in a file that exec closes. The call can only fail: with ENOENT if there is a
/// handler, which could not open this file (fs/binfmt_misc.c), or with ENOEXEC without one.
fn asked(head: &[u8]) -> Option<bool> {
    let mut head = head[..head.len().min(COMPARED)].to_vec();
    // An ELF file without program headers is no program for any machine: `e_phnum` with 32 and with 64 bits.
    if head.starts_with(b"\x7fELF") {
        [44, 45, 56, 57].into_iter().for_each(|at| head.get_mut(at).into_iter().for_each(|byte| *byte = 0));
    }
    const NONE: [&CStr; 0] = [];
    let flags = MFdFlags::MFD_CLOEXEC;
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    // Linux before 6.3 does not know the second flag, without which a system may refuse every such file.
    let file = memfd_create(c"head", flags | executable).or_else(|_| memfd_create(c"head", flags)).ok()?;
    let mut file = File::from(file);
    file.write_all(&head).ok()?;
    match execveat(&file, c"", &[c"head"], &NONE, AtFlags::AT_EMPTY_PATH) {
        Err(Errno::ENOENT) => Some(true),
        Err(Errno::ENOEXEC) => Some(false),
        _ => None,
    }
}
