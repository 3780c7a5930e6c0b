//! Other uids that meddle with a directory, and the lists (POSIX ACLs) that let them.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

/// Which of its two lists.
pub const ACCESS: &CStr = c"system.posix_acl_access";
/// The list that what is made in a directory inherits.
pub const DEFAULT: &CStr = c"system.posix_acl_default";

/// `setfacl -m u:UID:PERMISSIONS` (or with `-d`) for a directory of mode 0755.
pub fn allow(path: &Path, list: &CStr, uid: u32, permissions: u16) {
    const NOBODY: u32 = u32::MAX;
    // Owner, a named user, group, mask, others; see acl(5) and the kernel's posix_acl_xattr.h.
    let entries = [(1, 7, NOBODY), (2, permissions, uid), (4, 5, NOBODY), (16, 7, NOBODY), (32, 5, NOBODY)];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(u16::to_le_bytes(tag));
        value.extend(u16::to_le_bytes(permissions));
        value.extend(u32::to_le_bytes(id));
    }
    let path = c_path(path);
    // SAFETY: the path and the name end in NUL, the value has that length, and all three live until the call returns.
    let result = unsafe { libc::setxattr(path.as_ptr(), list.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).unwrap_or_else(|error| panic!("{path:?}: {error}"));
}

/// Whether an entry, which is not followed, has such a list.
pub fn has(path: &Path, list: &CStr) -> bool {
    let path = c_path(path);
    // SAFETY: the path and the name end in NUL and live until the call returns; with a size of 0 nothing is written.
    unsafe { libc::lgetxattr(path.as_ptr(), list.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}

/// Exchanges two entries (renameat2 with RENAME_EXCHANGE).
pub fn exchange(one: &Path, other: &Path) -> nix::Result<()> {
    let (one, other, here) = (c_path(one), c_path(other), libc::AT_FDCWD);
    let flags = libc::RENAME_EXCHANGE;
    // SAFETY: both paths end in NUL and live until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), flags) };
    Errno::result(result).map(drop)
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("paths have no NUL")
}

/// Another uid, which does one thing over and over until this goes.
pub struct Stranger {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
    /// To the file system the thread is that uid: those rights are a thread's own.
    pub fn of_uid(uid: u32, mut act: impl FnMut() + Send + 'static) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            setfsgid(Gid::from_raw(uid));
            setfsuid(Uid::from_raw(uid));
            assert_eq!(setfsuid(Uid::from_raw(u32::MAX)).as_raw(), uid, "this is root");
            while !seen.load(Ordering::Relaxed) {
                act();
            }
        });
        Self { ends, thread: Some(thread) }
    }

    /// Ends it; the test fails where it has failed.
    pub fn end(mut self) {
        self.stop().expect("it found nothing");
    }

    fn stop(&mut self) -> std::thread::Result<()> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
