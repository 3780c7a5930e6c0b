//! What of Landlock this kernel and container have.

use std::ptr;

/// The version of Landlock's interface: 0 where there is none, or where a filter denies it.
pub fn version() -> u32 {
    const VERSION: libc::c_uint = 1;
    let none: *const libc::c_void = ptr::null();
    // SAFETY: with this flag the call takes no attribute (null, 0 bytes), makes nothing and returns the version.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}
