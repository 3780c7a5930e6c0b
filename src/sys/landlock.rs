//! The version of Landlock that this kernel and container allow.

use std::ptr;

/// The version of Landlock's interface: 0 if the kernel has none, or if a system call filter denies it.
pub fn version() -> u32 {
    const VERSION: libc::c_uint = 1;
    let none: *const libc::c_void = ptr::null();
    // SAFETY: with this flag the call takes no attribute (null, 0 bytes), makes nothing and returns the version.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}
